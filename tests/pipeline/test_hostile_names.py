"""Whatever others call things: a terminal and a log show it, and are not steered by it."""

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from main import main
from pipeline.terminal.logs import set_up_logging
from pipeline.terminal.say import hide, safe, say
from tests.corpus_mirrors import tar_of, write_files, zip_of
from tests.hub_server import HubServer
from tests.runs import run
from tests.support import tone
from utils.rows.printable import visible

STEERING = "\x1b]0;owned\x07\x1b[31m\r\x9b2J\u202e\u2066\x08\x7f"
"""Titles, colours, the start of the line, a bell, C1, bidi overrides, backspaces."""
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
NAMES = [f"{number}{STEERING}.wav" for number in range(3)]


def told_by(machine: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """(exit code, what stood on the terminal, what stands in the log)."""
    done = run(arguments, machine, extra)
    logs = "".join(path.read_bytes().decode() for path in (machine / "logs").glob("*.log"))
    return done.returncode, done.stdout + done.stderr, logs


def assert_harmless(*texts: str) -> None:
    for text in texts:
        assert not RAW.search(text), ascii(text[max(0, (found := RAW.search(text)).start() - 200) : found.end() + 20])


def table(names: list[str], sentence: str = "ข้อ", **columns: str) -> bytes:
    head = "\t".join(["path", "sentence", *columns])
    return "\n".join([head, *("\t".join([name, sentence, *columns.values()]) for name in names)]).encode()


PACKED: dict[str, Callable[[Mapping[str, bytes]], Mapping[str, bytes]]] = {
    "loose": lambda files: files,
    "zip": lambda files: {f"c{STEERING}.zip": zip_of(files)},
    "tar": lambda files: {f"c{STEERING}.tar": tar_of(files)},
    "tar.gz": lambda files: {f"c{STEERING}.tar.gz": tar_of(files, "w:gz")},
}
SOUND = {name: tone(number) for number, name in enumerate(NAMES)}
LINES = "reader: table, licence: cc0-1.0"
CORPORA: dict[str, tuple[Mapping[str, bytes], str, int]] = {
    "published": ({**SOUND, "train.tsv": table(NAMES[:2], STEERING + "สวัสดี")}, LINES, 0),
    "all rejected": ({**dict.fromkeys(NAMES, STEERING.encode()), "train.tsv": table(NAMES)}, LINES, 0),
    "clips that are not there": ({"x.wav": tone(1), "train.tsv": table(NAMES)}, LINES, 4),
    "a column that is not there": ({**SOUND, "train.tsv": b"p\x1b[2J\tq\x9b\n1\t2\n"}, LINES, 4),
    "a split that is none": (
        {**SOUND, "all.tsv": table(NAMES, part=f"x{STEERING}")},
        f"{LINES}, columns: {{split: part, audio: path, transcript: sentence}}",
        4,
    ),
    "a licence and title": (
        {**SOUND, "train.tsv": table(NAMES)},
        r'reader: table, licence: "mine\e[31m", title: "t\e]0;x\a", terms: "none\u202e\x9b"',
        0,
    ),
}


CASES = [
    *(("published", "tar.gz"), ("all rejected", "loose"), ("clips that are not there", "zip")),
    *(("clips that are not there", "tar"), ("a column that is not there", "loose")),
    *(("a split that is none", "loose"), ("a licence and title", "loose")),
]


@pytest.mark.parametrize(("corpus", "packed"), CASES)
def test_a_corpus_whose_every_name_steers_a_terminal(tmp_path: Path, corpus: str, packed: str) -> None:
    """Of its files, archives, clips, columns, splits and texts: at the most talkative."""
    files, lines, code = CORPORA[corpus]
    write_files(tmp_path / "corpus", PACKED[packed](files))
    (tmp_path / "my.yaml").write_text(f"sources:\n  - {{name: Mine, location: corpus, {lines}}}\n")
    mine = ["--sources", "my.yaml"]

    ended, told, logged = told_by(
        tmp_path, "--fresh", "Mine", *mine, "--output", "out", "--verbose", "--accept-terms", "Mine"
    )

    assert ended == code, told
    assert_harmless(told, logged)
    if corpus == "a licence and title":
        for command in (["--list", *mine], ["--status", "--output", "out"], ["--verify", "--output", "out"]):
            assert_harmless(*told_by(tmp_path, *command)[1:])


YAML = [
    'sources: [{name: "a\\e[2J", location: x, reader: table}]',
    'sources: [{name: A, location: "x\\e[2J\\u202e", reader: table, licence: mit}]',
    'sources: [{"k\\e[2J": 1}]',
    'sources: [{name: A, location: ., reader: "t\\e[2J", licence: mit}]',
    "sources: [\x1b[2J",
    "sources: [{name: A, name: \u202e}]",
]


def test_values_of_yaml_are_told_harmlessly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They may come from somebody else's repo."""
    for text in YAML:
        (tmp_path / "my.yaml").write_text(text)

        code = main(["--fresh", "A", "--sources", str(tmp_path / "my.yaml"), "--output", str(tmp_path / "out")])

        told = capsys.readouterr().err
        assert code == 2, told
        assert_harmless(told)


def test_arguments_are_told_harmlessly(capsys: pytest.CaptureFixture[str]) -> None:
    """Names that a shell has completed, say: told before there is a log."""
    fresh = ["--fresh", "GigaSpeech2"]
    for arguments in (["--fresh", STEERING], [f"--x{STEERING}"], [*fresh, "--hf-repo", f"a{STEERING}"]):
        with suppress(SystemExit):
            assert main(arguments) == 2

        told = capsys.readouterr().err
        assert told
        assert_harmless(told)


def test_what_a_server_says_is_told_harmlessly(tmp_path: Path) -> None:
    """In the words of its errors; HTTP lets no line feed through, but escapes."""
    write_files(tmp_path / "corpus", {**SOUND, "train.tsv": table(NAMES)})
    (tmp_path / "my.yaml").write_text(f"sources:\n  - {{name: Mine, location: corpus, {LINES}}}\n")
    with HubServer(tmp_path / "hub") as hub:
        hub.fault("status", step="commit", status=403, times=None, message="no\x1b[2J\x1b]0;owned\x07 \x9b2J room")
        code, told, logged = told_by(
            tmp_path,
            *("--fresh", "Mine", "--sources", "my.yaml", "--hf-repo", "me/thai", "--verbose", "--patience", "0.001"),
            extra={"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_test_token"},
        )

    assert code not in (0, 1), told
    assert_harmless(told, logged)


def test_no_line_of_a_log_is_made_up_by_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A library's own line, an error's words: what follows a line feed is indented, and shown."""
    before = list(logging.getLogger().handlers)
    try:
        path = set_up_logging(tmp_path, verbose=False, quiet=False, secrets=[])
        forged = f"x\n2026-11-30 12:00:00 INFO pipeline: committed{STEERING}"
        logging.getLogger("fsspec").error(forged)
        try:
            raise OSError(forged)
        except OSError:
            logging.getLogger("somebody").exception("%s", forged)
    finally:
        for handler in set(logging.getLogger().handlers) - set(before):
            logging.getLogger().removeHandler(handler)
            handler.close()
        hide([])

    logged, told = path.read_text(), "".join(capsys.readouterr())
    assert_harmless(logged, told)
    assert "\\x1b]0;owned\\x07\\x1b[31m\\r\\x9b2J\\u202e\\u2066\\x08\\x7f" in logged
    assert not re.search("(?m)^2026-11-30 12:00:00", logged)
    assert "\n    2026-11-30 12:00:00 INFO" in logged


def test_colours_of_ours_stay_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a text is painted, its own colours are the only thing that passes."""
    say("\x1b[31mred\x1b[0m \x1b[2J", painted=True)
    say("\x1b[31mnot red")

    assert capsys.readouterr().out == "\x1b[31mred\x1b[0m \\x1b[2J\n\\x1b[31mnot red\n"


def test_thai_and_other_scripts_are_shown_as_they_are() -> None:
    """With joiners and spaces of no width, which are part of writing; half a character is shown as an escape."""
    text = "สวัสดีครับ น้ำ\u200b ก\u200cข\u200dค\n\té 語"

    assert safe(text) == visible(text) == text
    assert visible("a\udce9b") == "a\\udce9b"
