"""Peak memory of a commit that goes over Xet to a slow server: `python benchmarks/xet_memory.py --files 3 --mb 500`.

Sends files of noise, by the program's own target, from a process of its own to the Hub that the tests run against,
which takes each connection's bytes at a given rate. Prints the peak of the sender's resident memory. `--as-it-comes`
does without the program's bounds, `--lfs` without Xet. A temporary folder takes three times the files' size.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.requirements import require  # noqa: E402

require()

from tests.hub.client import xet_settings  # noqa: E402
from tests.hub.process import HubProcess  # noqa: E402
from tests.hub_server import TOKEN  # noqa: E402
from tests.support import begun_state  # noqa: E402
from utils.dataset.hub_repo import HubTarget  # noqa: E402
from utils.dataset.target import Change  # noqa: E402

REPO = "me/thai-voice"
_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1,localhost"}
_UNBOUND = {"HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY": "64", "HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION": "8"}
"""As Xet has them by itself."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=3)
    parser.add_argument("--mb", type=int, default=500, help="of each file")
    parser.add_argument("--mb-per-s", type=float, default=10.0, help="of each connection")
    parser.add_argument("--as-it-comes", action="store_true", help="without our bounds")
    parser.add_argument("--lfs", action="store_true", help="without Xet")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder)")
    parser.add_argument("--send", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.send:
        _send(given.send)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        print("| files | way | seconds | peak memory |\n|---|---|---|---|")
        print(_measure(Path(folder), given), flush=True)


def _measure(folder: Path, given: argparse.Namespace) -> str:
    (folder / "files").mkdir()
    for number in range(given.files):
        with (folder / "files" / f"{number}.parquet").open("wb") as file:
            for _ in range(given.mb):
                file.write(os.urandom(10**6))
    way = "LFS" if given.lfs else "Xet as it comes" if given.as_it_comes else "Xet"
    bounds = _UNBOUND if given.as_it_comes else {}
    chosen = {"HF_HUB_DISABLE_XET": "1"} if given.lfs else {**xet_settings(folder / "hf"), **bounds}
    with HubProcess(folder / "hub", options=("--throttle", str(given.mb_per_s * 1e6))) as hub:
        environment = {**os.environ, **chosen, **_QUIET, "HF_ENDPOINT": hub.endpoint}
        begun = time.monotonic()
        process = subprocess.Popen([sys.executable, __file__, "--send", str(folder)], env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit("the commit failed")
        seconds = time.monotonic() - begun
        steps = {seen.step for seen in hub.requests}
    if ("lfs_put" if given.lfs else "xet_shard") not in steps:
        raise SystemExit("the files went another way")
    return f"| {given.files} x {given.mb} MB | {way} | {seconds:.0f} | {usage.ru_maxrss / 1024:.0f} MB |"


def _send(folder: Path) -> None:
    target = HubTarget(REPO, TOKEN, folder / "staging")
    target.open()
    since = target.begin(Change("Begin", begun_state()), target.snapshot())
    assert since.state is not None
    files = {f"data/train/{path.name}": path for path in sorted((folder / "files").iterdir())}
    target.commit(Change("Add", since.state, files), since)


if __name__ == "__main__":
    main()
