"""Passwords and signatures in addresses: in no output, log, state, checkpoint, index, card or row, whoever tells."""

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from main import main
from pipeline.terminal.say import safe
from tests.corpus_mirrors import write_files, zip_of
from tests.hub_server import HubServer
from tests.runs import run
from tests.support import tone, tree
from tests.web_server import Answer, WebServer, file, redirect, status
from utils.rows.credentials import public, secrets_of, without_credentials

PASSWORD = "p@ss wörd/12"  # noqa: S105
SIGNATURE = "c2lnbmF0dXJlMTIz+/="
QUERY = f"sv=2024&sig={quote(SIGNATURE, safe='')}&X-Amz-Signature=0f1e2d3c4b5a&token=hidden-token&session=abcdef0123"
FORMS = [
    *(PASSWORD, quote(PASSWORD, safe=""), base64.b64encode(f"me:{PASSWORD}".encode()).decode()),
    *(SIGNATURE, quote(SIGNATURE, safe=""), "0f1e2d3c4b5a", "hidden-token", "abcdef0123"),
]
"""How the secrets may come back."""
CLIPS = {f"{number}.wav": tone(number) for number in range(4)}
CORPUS = zip_of({**CLIPS, "train.csv": ("file,text\n" + "".join(f"{name},ข้อ {name}\n" for name in CLIPS)).encode()})


def leaks(told: str, machine: Path) -> list[str]:
    """Where one of the secrets is: in what was told, or in a file that was left behind, or its name."""
    everything = {"the output": told.encode(), **{name: name.encode() + b for name, b in tree(machine).items()}}
    return [
        f"{form} in {name}"
        for name, content in everything.items()
        for form in FORMS
        if form.encode() in content and not name.startswith("my.yaml")
    ]


def sources(machine: Path, location: str) -> list[str]:
    machine.mkdir(parents=True, exist_ok=True)
    (machine / "my.yaml").write_text(
        f"sources:\n  - name: Mine\n    location: '{location}'\n    reader: table\n    licence: cc0-1.0\n"
        f"    url: https://me:{quote(PASSWORD, safe='')}@example.org/page?{QUERY}\n"
    )
    return ["Mine", "--sources", "my.yaml", "--output", "out", "--verbose"]


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


ANSWERS: dict[str, list[Answer]] = {
    "well": [file(CORPUS)],
    "nothing": [status(404, f"no {QUERY}")],
    "not for us": [status(403, f"no {QUERY}")],
    "a redirect nobody follows": [redirect(f"ftp://me:{quote(PASSWORD, safe='')}@host/?{QUERY}")],
    "a circle": [redirect(f"/c.zip?{QUERY}")],
    "a page": [file(f"<html>{QUERY}".encode())],
    "another file, then": [file(CORPUS), file(CORPUS[1:])],
    "damage": [file(CORPUS[: len(CORPUS) // 2])],
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_signed_address_is_told_nowhere(tmp_path: Path, web: WebServer, answer: str) -> None:
    """Whatever is answered, and were it the address itself; when it is read, and when it is resumed."""
    web.answers["/c.zip"] = list(ANSWERS[answer])
    command = sources(tmp_path, f"http://me:{quote(PASSWORD, safe='')}@{web.host}/c.zip?{QUERY}")

    begun = run(["--fresh", *command], tmp_path)
    resumed = run(["--append", "--resume", *command], tmp_path)

    assert begun.returncode == (0 if answer == "well" else 4), begun.stderr
    assert leaks(begun.stdout + begun.stderr + resumed.stdout + resumed.stderr, tmp_path) == []
    assert len(web.asked) >= 2


class Telling(MemoryFileSystem):
    """A file system whose errors say how it was called."""

    protocol = "telling"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    said: ClassVar[str] = ""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/x"

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        raise OSError(self.said)


@pytest.mark.parametrize(
    "said",
    [
        f"telling://me:{quote(PASSWORD, safe='')}@host/x?{QUERY}: refused",
        f"auth=('me', '{PASSWORD}')",
        f"Authorization: Basic {base64.b64encode(f'me:{PASSWORD}'.encode()).decode()}",
        f"Max retries exceeded with url: /x?{QUERY} (Caused by NewConnectionError)",
        f"x{'y' * 370} https://me:{quote(PASSWORD, safe='')}@host/",
    ],
)
def test_what_a_library_says_is_told_without_them(
    tmp_path: Path, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an address, in pieces, or cut in the middle of one."""
    fsspec.register_implementation("telling", Telling, clobber=True)
    monkeypatch.setattr(Telling, "said", said)
    monkeypatch.chdir(tmp_path)
    command = sources(tmp_path, f"telling://me:{quote(PASSWORD, safe='')}@host/x?{QUERY}")

    before = list(logging.getLogger().handlers)
    try:
        code = main(["--fresh", *command])
        logging.getLogger("fsspec").error("a library's own line: %s", said)
    finally:
        for handler in set(logging.getLogger().handlers) - set(before):
            logging.getLogger().removeHandler(handler)
            handler.close()

    told = "".join(capsys.readouterr())
    assert code == 4, told
    assert leaks(told, tmp_path) == []


@pytest.mark.parametrize("status_code", [None, 403])
def test_the_password_of_an_endpoint_is_told_nowhere(tmp_path: Path, status_code: int | None) -> None:
    """A Hub behind a gateway of its own, that says no."""
    write_files(tmp_path / "repo", {"c.zip": CORPUS})
    with HubServer(tmp_path / "hub") as hub:
        hub.add_dataset("me/corpus", tmp_path / "repo")
        if status_code:
            hub.fault("status", step="resolve", status=status_code, times=9, message=f"me:{PASSWORD}")
        endpoint = hub.endpoint.replace("://", f"://me:{quote(PASSWORD, safe='')}@")
        proxy = f"http://me:{quote(PASSWORD, safe='')}@127.0.0.1:9"
        command = ["--fresh", *sources(tmp_path / "machine", "me/corpus")]
        done = run(command, tmp_path / "machine", {"HF_ENDPOINT": endpoint, "HTTPS_PROXY": proxy})

    assert done.returncode == 4, done.stderr  # the password is sent in place of a token
    assert leaks(done.stdout + done.stderr, tmp_path / "machine") == []


def test_addresses_keep_what_is_no_secret() -> None:
    """A message still says which place it is about."""
    assert public("https://me:pw@host:8/a/b.zip?sig=1#x") == "https://host:8/a/b.zip"
    assert public("http://localhost:8080/a@b.zip") == "http://localhost:8080/a@b.zip"
    for password in ("hunter2/SEKRET", "hunter2?SEKRET", "hunter2#SEKRET", "a:b/c"):
        assert public(f"http://bobby:{password}@host/c.zip#access_token=x") == "http://host/c.zip"
        assert safe(f"no http://bobby:{password}@host/c.zip") == "no http://<hidden>@host/c.zip"
    assert (
        without_credentials("see https://host/a?page=2&sig=abc or b") == "see https://host/a?page=2&sig=<hidden> or b"
    )
    assert without_credentials("ftp://me@host/x and a@b.c") == "ftp://<hidden>@host/x and a@b.c"
    assert safe("from ftp://me:pw@host/x?sig=ab") == "from ftp://<hidden>@host/x?sig=<hidden>"
    assert secrets_of("https://host/a?page=2") == secrets_of("sftp://marie@host/a") == []
    assert (
        safe("https://huggingface.co/datasets/a/b/blob/main/x@1.tsv")
        == "https://huggingface.co/datasets/a/b/blob/main/x@1.tsv"
    )
