"""What the environment can be like where people start: told in words that name what to mend, never a bug of ours."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.hub_server import HubServer
from tests.runs import PROJECT, environment, run
from utils.sources.hub import dataset_page

SECRET = "s3cret"

SETTINGS = {
    "a SOCKS proxy without its package": ({"HTTPS_PROXY": f"socks5://me:{SECRET}@127.0.0.1:9"}, "pip install socksio"),
    "a garbled proxy": ({"HTTPS_PROXY": f"ht!tp://{SECRET} y"}, "HTTPS_PROXY is no address of a proxy"),
    "certificates that are not there": ({"SSL_CERT_FILE": "/nonexistent"}, "SSL_CERT_FILE.* can't be read"),
    "an endpoint without a scheme": ({"HF_ENDPOINT": "hub.example"}, "HF_ENDPOINT is no address: .*https://"),
    "offline": ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set. .*--source-dir"),
}


@pytest.mark.parametrize(("settings", "says"), SETTINGS.values(), ids=SETTINGS)
def test_settings_of_the_network_that_can_not_be_used(tmp_path: Path, settings: Mapping[str, str], says: str) -> None:
    """The variable is named, its value is not; nothing is begun, and nobody is asked."""
    with HubServer(tmp_path / "hub") as hub:
        user = {"HF_ENDPOINT": hub.endpoint, "NO_PROXY": "", **settings}
        done = run(["--fresh", "GigaSpeech2", "--streaming"], tmp_path / "machine", user)

    assert done.returncode in (2, 4), done.stderr
    assert "bug" not in done.stderr and "Traceback" not in done.stderr
    assert SECRET not in done.stderr + "".join(path.read_text() for path in (tmp_path / "machine/logs").glob("*"))
    assert re.search(says, done.stderr), done.stderr
    assert not (tmp_path / "machine/data/thai-voice").exists()


def test_a_python_that_leaves_the_scripts_folder_out(tmp_path: Path) -> None:
    """PYTHONSAFEPATH: the program finds itself, and so does the process that converts a clip alone."""
    done = run(["--version"], tmp_path, {"PYTHONSAFEPATH": "1"})
    assert done.returncode == 0, done.stderr

    script = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n"
        "from processors.engine.isolated import convert_alone\n"
        "from tests.support import tone\n"
        "from utils.choices import AudioOptions\n"
        "from utils.rows.schema import RawClip\n"
        "print(convert_alone(RawClip('a', {'index': 1}, tone(1)), 'S', 'train', AudioOptions())['source_id'])\n"
    )
    alone = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment({"PYTHONSAFEPATH": "1"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.stdout.strip() == "S/train/a", alone.stderr


def test_a_page_is_shown_without_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint may have one."""
    monkeypatch.setenv("HF_ENDPOINT", f"https://me:{SECRET}@hub.example/hf/")

    assert dataset_page("a/b") == "https://hub.example/hf/datasets/a/b"
