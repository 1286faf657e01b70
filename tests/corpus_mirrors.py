"""Small mirrors of the configured sources, in their layouts, each with the hard cases that its layout can have."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from processors import describe
from processors.demo.mirrors import DemoCounts
from tests.support import tone
from utils.rows.schema import AUDIO_TYPE, RejectReason

GOOD = 12
"""Clips of each split that are sound."""
Counts = Mapping[str, DemoCounts]
MISSING, UNDECODABLE, REPEATED = RejectReason.MISSING_AUDIO, RejectReason.UNDECODABLE, RejectReason.REPEATED_SOURCE_ID
BOM = b"\xef\xbb\xbf"


def write_corpus_mirrors(folder: Path) -> dict[str, Counts]:
    """The mirrors of all of them below `folder`; returns what each split of each comes to."""
    return {name: write(folder / describe(name).mirror) for name, write in _WRITERS.items()}


# --- Parquet ---------------------------------------------------------------------------------


def _parquet(
    files: Mapping[str, str],
    transcript: str,
    others: Mapping[str, str] | None = None,
    id_column: str | None = None,
    path: str = "clips/{}.mp3",
) -> Callable[[Path], Counts]:
    """A writer of Parquet files: pattern of a split's files (with `{}` for their numbers) -> split."""

    def write(folder: Path) -> Counts:
        counts = {}
        for number, (pattern, split) in enumerate(files.items()):
            rows = [_row(100 * number + at, transcript, others or {}, id_column, path) for at in range(GOOD)]
            rows[1][transcript] = None
            broken = [dict(rows[0]), _row(100 * number + 50, transcript, others or {}, id_column, path), dict(rows[5])]
            broken[0]["audio"] = None
            broken[1]["audio"] = {"bytes": b"<html>503</html>", "path": path.format(100 * number + 50)}
            parts = [rows[:7] + broken[1:2], rows[7:] + broken[2:] + broken[:1]]
            for part, of_part in enumerate(parts):
                _write_parquet(folder / pattern.format(part), of_part)
            missing = 0 if id_column else 1
            rejected = {UNDECODABLE: 1, REPEATED: 2 - missing, MISSING: missing}
            counts[split] = DemoCounts(kept=GOOD, rejected={why: n for why, n in rejected.items() if n})
        return counts

    return write


def _row(number: int, transcript: str, others: Mapping[str, str], id_column: str | None, path: str) -> dict[str, Any]:
    return {
        "audio": {"bytes": tone(number), "path": path.format(number)},
        transcript: f"ประโยคที่ {number}",
        **{name: f"{value} {number}" for name, value in others.items()},
        **({id_column: f"utt-{number}"} if id_column else {}),
    }


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [name for name in rows[0] if name != "audio"]
    schema = pa.schema([("audio", AUDIO_TYPE), *((name, pa.string()) for name in names)])
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, row_group_size=3)


_HUB = {"data/train-0000{}-of-00002.parquet": "train"}
_HUB_SPLITS = {
    "data/test-0000{}-of-00002.parquet": "test",
    "data/validation-0000{}-of-00002.parquet": "validation",
    **_HUB,
}


# --- clips with tables -----------------------------------------------------------------------


def zip_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def tar_of(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _elderly(folder: Path) -> Counts:
    """Two domains whose clips have the same names, in one zip; names without ending, as the release has them."""
    files: dict[str, bytes] = {}
    for at, domain in enumerate(("Healthcare", "Smarthome")):
        clips = range(100 * at, 100 * at + GOOD // 2)
        files |= {
            f"Dataset/{domain}/Record/{n % 100}.{'WAV' if n % 100 == 3 else 'wav'}": tone(n + 1000) for n in clips
        }
        rows = [{"filename": str(n % 100), "transcript": f'ข้อ "{n}"', "speaker_id": n % 3} for n in clips]
        rows += [{"filename": "no-such-clip", "transcript": "ไม่มี", "speaker_id": 1}, rows[2]]
        files[f"Dataset/{domain}/transcription.json"] = BOM + json.dumps(rows, ensure_ascii=False, indent=1).encode()
        files[f"Dataset/{domain}/Record/not-in-the-table.wav"] = tone(1200 + at)
        files[f"__MACOSX/Dataset/{domain}/Record/._0.wav"] = b"side file"
    write_files(folder, {"Dataset.zip": zip_of(files), "README.md": b"Not a table.\n"})
    return {"train": DemoCounts(kept=GOOD, unselected=2, rejected={MISSING: 2, REPEATED: 2})}


def _gowajee(folder: Path) -> Counts:
    """Kaldi's files under a leading folder; entries of wav.scp as paths of another machine, and as commands."""
    for at, split in enumerate(("train", "dev", "test")):
        clips = range(2000 + 100 * at, 2000 + 100 * at + GOOD)
        files = {f"audios/{split}/{n}.wav": tone(n) for n in [*clips, clips[-1] + 1]}
        where = [f"audios/{split}/{n}.wav" for n in clips]
        where[1] = f"/export/corpora/gowajee/audios/{split}/{clips[1]}.WAV"
        where[2] = f"sox audios/{split}/{clips[2]}.wav -t wav - |"
        scp = [f"utt{n} {path}" for n, path in zip(clips, where, strict=True)]
        scp += [f"utt-without-text audios/{split}/{clips[-1] + 1}.wav", "utt-without-file audios/gone.wav"]
        text = [f"utt{n} โกวาจี  | เปิดไฟ {n}" for n in clips] + [f"utt{clips[0]} อีกครั้ง", "utt-without-file ไม่มี"]
        files["text"] = BOM + "\r\n".join(text).encode()
        files["wav.scp"] = "\n".join(scp).encode()
        files["utt2spk"] = "".join(f"utt{n} spk{n % 2}\n" for n in clips).encode()
        tables = {f"v0.9.2/{split}/{name}": content for name, content in files.items() if "/" not in name}
        write_files(folder, {**tables, **{f"v0.9.2/{name}": files[name] for name in files if "/" in name}})
    counts = DemoCounts(kept=GOOD, unselected=1, rejected={MISSING: 1, REPEATED: 1})
    return {"train": counts, "validation": counts, "test": counts}


def _lotus(folder: Path) -> Counts:
    files = {}
    for at in range(GOOD):
        name = f"LOTUS/PD/{'UC'[at % 2]}/Clean/Wav/F00{at % 3}_Pa001/CFcd001_Pa001_{at:03}.wav"
        files[name] = tone(3000 + at)
    files["LOTUS/PD/U/Clean/Wav/F009_Pa001/CFcd001_Pa001_999.wav"] = tone(3100)
    index = ["set\tno", *(f"Pa001\t{at:03}\ts{at}" for at in range(GOOD))]
    files["LOTUS/Supplement/index.txt"] = "\r\n".join(index).encode()
    files["LOTUS/Supplement/PDsen.txt"] = BOM + "".join(f"s{at}\tประโยค {at}\tx\n" for at in range(GOOD)).encode()
    write_files(folder, {"AIFORTHAI-LotusCorpus.zip": zip_of(files)})
    return {"train": DemoCounts(kept=GOOD, unselected=1)}


def _tsync1(folder: Path) -> Counts:
    """An index of lines in a tar.gz."""
    files = {f"TSync1/wav/tsync1_{at}.wav": tone(4000 + at) for at in range(GOOD + 1)}
    lines = [f"tsync1_{at}|กิน|ข้าว|{at}" for at in range(GOOD)] + ["tsync1_77|ไม่มี", "tsync1_3|ซ้ำ"]
    files["TSync1/index.txt"] = BOM + "\r\n".join(lines).encode()
    write_files(folder, {"TSync1Corpus.tar.gz": tar_of(files, "w:gz")})
    return {"train": DemoCounts(kept=GOOD, unselected=1, rejected={MISSING: 1, REPEATED: 1})}


def _tsync2(folder: Path) -> Counts:
    """A text for each clip."""
    files = {f"TSync2/wav/tsync2_{at}.wav": tone(5000 + at) for at in range(GOOD + 1)}
    for at in [*range(GOOD), 77]:
        files[f"TSync2/wrd_ph/tsync2_{at}.txt"] = f"\ufeffกิน|ข้าว|{at}|\r\nกิน| |ข้าว|\r\nk-i-n-0|".encode()
    write_files(folder, files)
    return {"train": DemoCounts(kept=GOOD, unselected=1, rejected={MISSING: 1})}


_WRITERS: Mapping[str, Callable[[Path], Counts]] = {
    "FLEURS": _parquet(
        {
            "th_th/fleurs-train-0000{}-of-00002.parquet": "train",
            "th_th/validation/000{}.parquet": "validation",
            "th_th/test/000{}.parquet": "test",
        },
        "transcription",
        {"raw_transcription": "raw", "gender": "g"},
    ),
    "PorjaiCentral": _parquet(_HUB, "sentence"),
    "ThaiDialectKorat": _parquet(
        _HUB_SPLITS, "sentence", {"thai_sentence": "ไทย", "dialect_type": "ECOM"}, id_column="utterance"
    ),
    "ThaiDialectKhummuang": _parquet(_HUB, "sentence", {"thai_sentence": "ไทย"}, id_column="utterance"),
    "ThaiDialectPattani": _parquet(_HUB, "text"),
    "ThaiElderly": _elderly,
    "Gowajee": _gowajee,
    "LOTUS": _lotus,
    "TSync1": _tsync1,
    "TSync2": _tsync2,
    "ThaiSER": _parquet(_HUB_SPLITS, "script_sent", {"actor_id": "actor"}, path="studio001/{}.flac"),
    "YODAS2": _parquet(_HUB, "text", path="audio.wav"),
    "TVSpeech": _parquet({"data/test-0000{}-of-00002.parquet": "test"}, "text"),
}
