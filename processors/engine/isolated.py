"""One clip converted in a process of its own: it may crash there, and nothing else is lost.

    python -m processors.engine.isolated  <  request  >  answer

Both are a line of JSON, and behind it the audio's bytes.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

from processors.engine.conversion import DEFAULT_TEXT, convert_clip
from utils.choices import AudioOptions, TextOptions
from utils.rows.schema import RawClip, Reject, RejectReason, Sample

_PROJECT: Final = Path(__file__).parents[2]
_NO_MEMORY: Final = 5


def convert_alone(
    clip: RawClip, source: str, split: str, options: AudioOptions, text: TextOptions = DEFAULT_TEXT
) -> Sample | Reject:
    """The same as `convert_clip`, without a fingerprint; a reject where that ends the process that it is done in."""
    audio = clip.audio
    fields = {"clip": {**asdict(clip), "audio": None}, "has_audio": audio is not None}
    request = {**fields, "source": source, "split": split, "options": asdict(options), "text": asdict(text)}
    done = subprocess.run(
        [sys.executable, "-m", "processors.engine.isolated"],
        input=_packed(request, audio or b""),
        cwd=_PROJECT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"},  # it is found from there
        capture_output=True,
        check=False,
    )
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return Reject(f"{source}/{split}/{clip.key}", RejectReason.DECODER_CRASHED, f"decoding it ends in {name}")
    if done.returncode == _NO_MEMORY:
        raise MemoryError
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    answer, data = _unpacked(done.stdout)
    if "reject" in answer:
        return Reject(**answer["reject"])
    row = answer["row"]
    row["audio"]["bytes"] = data
    return cast(Sample, row)


def _answer(content: bytes) -> bytes:
    request, audio = _unpacked(content)
    clip = RawClip(**{**request["clip"], "audio": audio if request["has_audio"] else None})
    options, text = AudioOptions(**request["options"]), TextOptions(**request["text"])
    outcome = convert_clip(clip, request["source"], request["split"], options, text)
    if isinstance(outcome, Reject):
        return _packed({"reject": asdict(outcome)}, b"")
    data = outcome["audio"]["bytes"]
    return _packed({"row": {**outcome, "audio": {**outcome["audio"], "bytes": None}}}, data)


def _packed(content: dict[str, Any], data: bytes) -> bytes:
    return json.dumps(content).encode() + b"\n" + data


def _unpacked(packed: bytes) -> tuple[dict[str, Any], bytes]:
    line, _, data = packed.partition(b"\n")
    content: dict[str, Any] = json.loads(line)
    return content, data


if __name__ == "__main__":
    try:
        sys.stdout.buffer.write(_answer(sys.stdin.buffer.read()))
    except MemoryError:
        sys.exit(_NO_MEMORY)
