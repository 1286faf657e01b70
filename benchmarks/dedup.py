"""How well a recording is found in another form, and others are told from it: `python benchmarks/dedup.py`.

Speakers read sentences: voices of Debian's `espeak-ng` in Thai where it is installed, else the voices that the demo is
made of. Each clip is then encoded anew in many forms (positives); the same sentence by each other speaker, and once
more by the same one, a little faster or slower and higher or lower, are negatives. All go the program's way: standard
audio, fingerprint, compared as `utils/known/judge.py` does. Prints recall and precision by the clips' length, what a
clip costs, and the likeness that separates the two; where `fpcalc` is installed, chromaprint on the same pairs.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.requirements import require  # noqa: E402

require()

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import soxr  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from processors.demo.voice import SyntheticVoice  # noqa: E402
from utils.audio.fingerprint import SAME_RECORDING, Fingerprint, fingerprint  # noqa: E402
from utils.audio.standardize import standardize_audio  # noqa: E402
from utils.choices import AudioOptions  # noqa: E402
from utils.known.clips import ClipIndex, Entry, Reached  # noqa: E402
from utils.known.judge import MAX_TRIMMED_S  # noqa: E402

Samples = NDArray[np.float32]
Encode = Callable[[Samples, int, np.random.Generator], bytes]

BANDS = ((0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 5.0), (5.0, 10.0), (10.0, 99.0))
"""Of the shorter clip's length, in seconds."""
WORDS = [
    "วันนี้",
    "อากาศ",
    "ร้อน",
    "มาก",
    "เพื่อน",
    "ไป",
    "ตลาด",
    "ซื้อ",
    "ข้าว",
    "ผลไม้",
    "และ",
    "น้ำ",
    "แม่",
    "อ่าน",
    "หนังสือ",
    "ที่",
    "บ้าน",
    "พ่อ",
    "ทำงาน",
    "โรงเรียน",
    "อยู่",
    "ไกล",
    "รถไฟ",
    "ออก",
    "จาก",
    "สถานี",
    "ตอน",
    "เช้า",
    "เด็ก",
    "ชอบ",
    "เล่น",
    "ฟุตบอล",
    "กับ",
    "น้อง",
    "ทะเล",
    "สวย",
    "ภูเขา",
    "สูง",
    "เธอ",
    "ร้องเพลง",
    "เก่ง",
]
TRIM_S = 0.5
INDEXED_CLIPS = 50_000


@dataclass(frozen=True)
class Spoken:
    """One reading of a sentence."""

    sentence: int
    speaker: int
    samples: Samples
    rate_hz: int


@dataclass(frozen=True)
class Heard:
    """A clip as the program compares it."""

    print: Fingerprint
    duration_s: float
    chroma: NDArray[np.uint32] | None


# --- voices ----------------------------------------------------------------------------------------------------------


class Espeak:
    """Thai by `espeak-ng`, in the voices that it makes of one: speakers differ in timbre, pitch and pace."""

    name = "espeak-ng, Thai"
    variants = [
        "m1",
        "f1",
        "m2",
        "f2",
        "m3",
        "f3",
        "m4",
        "f4",
        "m5",
        "f5",
        "m6",
        "m7",
        "m8",
        "croak",
        "klatt",
        "klatt2",
        "klatt3",
        "klatt4",
        "whisper",
        "whisperf",
    ]

    def say(self, sentence: int, speaker: int, take: int) -> tuple[Samples, int]:
        random = np.random.default_rng([7, sentence, speaker])
        pace = round((128 + 4 * (7 * speaker % 16)) * random.uniform(0.97, 1.03))
        pitch = 30 + 3 * (5 * speaker % 16)
        if take:
            again = np.random.default_rng([11, sentence, speaker, take])
            pace = round(pace * (1 + again.choice([-1, 1]) * again.uniform(0.03, 0.08)))
            pitch += again.choice([-4, -2, 2, 4])
        voice = f"th+{self.variants[speaker % len(self.variants)]}"
        command = ["espeak-ng", "-v", voice, "-s", str(pace), "-p", str(pitch), "--stdout", words_of(sentence)]
        wave = subprocess.run(command, capture_output=True, check=True).stdout
        header = wave.index(b"data") + 8  # it is written as a stream: the sizes in its header are no sizes
        return np.frombuffer(wave[header:], "<i2").astype(np.float32) / 32768, int.from_bytes(wave[24:28], "little")


class Demo:
    """The demo's voice. What one speaker says differs from what another says: its negatives are easier."""

    name = "the demo's synthetic voice"

    def say(self, sentence: int, speaker: int, take: int) -> tuple[Samples, int]:
        voices = [
            SyntheticVoice(100 + speaker).clip(1000 * sentence + part).samples for part in range(1 + sentence % 4)
        ]
        samples = np.concatenate(voices)
        if take:
            pace = np.random.default_rng([11, sentence, speaker, take]).choice([0.94, 0.96, 1.04, 1.06])
            samples = at(samples, 16_000, round(16_000 * pace))
        return samples, 16_000


def words_of(sentence: int) -> str:
    random = np.random.default_rng([5, sentence])
    return " ".join(random.choice(WORDS, size=2 + 7 * sentence % 31))


def spoken(voice: Any, sentence: int, speaker: int, take: int = 0) -> Spoken:
    """A reading in a room of its own: its noise and its silence before and behind differ every time."""
    samples, rate_hz = voice.say(sentence, speaker, take)
    random = np.random.default_rng([3, sentence, speaker, take])
    before, behind = (np.zeros(int(random.uniform(0.1, 0.7) * rate_hz), np.float32) for _ in range(2))
    samples = np.concatenate([before, samples, behind])
    noise = random.standard_normal(len(samples)).astype(np.float32) * 10 ** (random.uniform(-50, -35) / 20)
    return Spoken(sentence, speaker, samples + noise * float(np.sqrt(np.mean(samples**2))), rate_hz)


# --- other forms of a recording --------------------------------------------------------------------------------------


def written(samples: Samples, rate_hz: int, **how: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, **how)
    return file.getvalue()


def at(samples: Samples, rate_hz: int, wanted_hz: int) -> Samples:
    resampled: Samples = soxr.resample(samples, rate_hz, wanted_hz).astype(np.float32)
    return resampled


def mp3(kbits: int, wanted_hz: int) -> Encode:
    highest, lowest = (320, 32) if wanted_hz >= 32_000 else (160, 8)
    level = (highest - kbits) / (highest - lowest)
    return lambda samples, rate_hz, random: written(
        at(samples, rate_hz, wanted_hz),
        wanted_hz,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=level,
        bitrate_mode="CONSTANT",
    )


def ogg(subtype: str, level: float, wanted_hz: int) -> Encode:
    return lambda samples, rate_hz, random: written(
        at(samples, rate_hz, wanted_hz), wanted_hz, format="OGG", subtype=subtype, compression_level=level
    )


def wav(wanted_hz: int, subtype: str = "PCM_16", gain_db: float = 0.0) -> Encode:
    return lambda samples, rate_hz, random: written(
        at(samples, rate_hz, wanted_hz) * np.float32(10 ** (gain_db / 20)), wanted_hz, format="WAV", subtype=subtype
    )


def trimmed(encode: Encode) -> Encode:
    """Up to half a second is cut off at each end; of short clips no more than a quarter."""

    def trim(samples: Samples, rate_hz: int, random: np.random.Generator) -> bytes:
        most = min(TRIM_S * rate_hz, len(samples) / 4)
        first, last = (int(random.uniform(0, most)) for _ in range(2))
        return encode(samples[first : len(samples) - last], rate_hz, random)

    return trim


FORMS: dict[str, Encode] = {
    "wav 16 kHz, -12 dB": wav(16_000, gain_db=-12),
    "wav 8 kHz": wav(8_000),
    "wav 48 kHz": wav(48_000),
    "mu-law 8 kHz": wav(8_000, "ULAW"),
    "mp3 16 kbit/s": mp3(16, 16_000),
    "mp3 48 kbit/s": mp3(48, 48_000),
    "opus 16 kbit/s": ogg("OPUS", 0.96, 48_000),
    "vorbis, lowest rate": ogg("VORBIS", 1.0, 16_000),
    "trimmed": trimmed(wav(16_000)),
    "trimmed, mp3 16 kbit/s": trimmed(mp3(16, 16_000)),
    "trimmed, mp3 48 kbit/s": trimmed(mp3(48, 48_000)),
    "trimmed, opus": trimmed(ogg("OPUS", 0.8, 48_000)),
    "trimmed, wav 8 kHz, -12 dB": trimmed(wav(8_000, gain_db=-12)),
}
BEYOND = {"opus 7 kbit/s": ogg("OPUS", 1.0, 48_000)}
"""Not counted: how it ends."""


# --- comparing -------------------------------------------------------------------------------------------------------


def heard(content: bytes, with_chroma: bool) -> Heard:
    audio = standardize_audio(content, AudioOptions(audio_format="wav"), with_fingerprint=True)
    assert audio.fingerprint is not None
    return Heard(audio.fingerprint, audio.duration_s, chromaprint(audio.data) if with_chroma else None)


def likeness(ours: Heard, other: Heard) -> float:
    """As the program compares the clip that comes with one that is there."""
    if abs(ours.duration_s - other.duration_s) > MAX_TRIMMED_S:
        return 0.0
    return ours.print.likeness(other.print.stored)


def chromaprint(wave: bytes) -> NDArray[np.uint32]:
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        file.write(wave)
        file.flush()
        command = ["fpcalc", "-raw", "-length", "30", file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    numbers = told.partition("FINGERPRINT=")[2].strip()
    return np.array([int(number) for number in numbers.split(",")] if numbers else [], np.uint32)


def chroma_likeness(ours: Heard, other: Heard) -> float:
    """1 less twice the share of bits that differ, at the best shift of up to 0.75 s."""
    one, two = ours.chroma, other.chroma
    if one is None or two is None or abs(ours.duration_s - other.duration_s) > MAX_TRIMMED_S:
        return 0.0
    best = 0.0
    for shift in range(-6, 7):
        first, second = one[max(0, shift) :], two[max(0, -shift) :]
        count = min(len(first), len(second))
        if count >= max(2, min(len(one), len(two)) // 2):
            best = max(best, 1 - 2 * float(np.bitwise_count(first[:count] ^ second[:count]).mean()) / 32)
    return best


@dataclass
class Pairs:
    """The likeness of pairs, by band of length and kind."""

    found: dict[tuple[int, str], list[float]]

    def add(self, one: Heard, two: Heard, kind: str, compare: Callable[[Heard, Heard], float]) -> None:
        """In both orders: whichever comes first is the one that is stored."""
        band = band_of(min(one.duration_s, two.duration_s))
        self.found[band, kind] += [compare(one, two), compare(two, one)]

    def of(self, band: int | None, is_positive: bool) -> NDArray[np.float64]:
        chosen = [
            value
            for (in_band, kind), values in self.found.items()
            if (band is None or in_band == band) and kind not in BEYOND and (kind in FORMS) == is_positive
            for value in values
        ]
        return np.array(chosen)


def band_of(duration_s: float) -> int:
    return next(number for number, (_, end) in enumerate(BANDS) if duration_s < end)


OTHERS, TAKES = "other speaker", "another take"


def compared(voice: Any, sentences: int, speakers: int, encoded: int, with_chroma: bool) -> dict[str, Pairs]:
    ways = {"ours": likeness, **({"chromaprint": chroma_likeness} if with_chroma else {})}
    pairs = {name: Pairs(defaultdict(list)) for name in ways}

    def add(one: Heard, two: Heard, kind: str) -> None:
        for name, compare in ways.items():
            pairs[name].add(one, two, kind, compare)

    for sentence in range(sentences):
        readings = [spoken(voice, sentence, speaker) for speaker in range(speakers)]
        plain = [heard(wav(16_000)(one.samples, one.rate_hz, None), with_chroma) for one in readings]  # type: ignore[arg-type]
        for speaker, (reading, original) in enumerate(zip(readings, plain, strict=True)):
            random = np.random.default_rng([13, sentence, speaker])
            if (speaker - sentence * encoded) % speakers < encoded:
                for form, encode in {**FORMS, **BEYOND}.items():
                    add(original, heard(encode(reading.samples, reading.rate_hz, random), with_chroma), form)
            again = spoken(voice, sentence, speaker, take=1)
            add(original, heard(wav(16_000)(again.samples, again.rate_hz, random), with_chroma), TAKES)
            for other in plain[speaker + 1 :]:
                add(original, other, OTHERS)
        print(f"{sentence + 1} of {sentences} sentences", file=sys.stderr, flush=True)
    return pairs


# --- report ----------------------------------------------------------------------------------------------------------


def report(pairs: Pairs, threshold: float) -> Iterator[str]:
    yield "| length | positives | found | recall | negatives | taken for the same | precision |"
    yield "|---|---|---|---|---|---|---|"
    for band in (*range(len(BANDS)), None):
        positives, negatives = pairs.of(band, True), pairs.of(band, False)
        if not len(positives):
            continue
        found, wrong = int((positives >= threshold).sum()), int((negatives >= threshold).sum())
        precision = f"{found / (found + wrong):.4f}" if found + wrong else "-"
        name = "all" if band is None else "{:g} to {:g} s".format(*BANDS[band])
        recall = f"{len(positives):,} | {found:,} | {found / len(positives):.4f}"
        yield f"| {name} | {recall} | {len(negatives):,} | {wrong:,} | {precision} |"


def by_kind(pairs: Pairs, threshold: float, first_s: float, end_s: float) -> Iterator[str]:
    spread_of = "least | 1st percentile | median | 99th percentile | most"
    yield f"| clips of {first_s:g} to {end_s:g} s | pairs | share taken | {spread_of} |"
    yield "|---|---|---|---|---|---|---|---|"
    bands = {number for number, (first, end) in enumerate(BANDS) if first_s <= first and end <= end_s}
    for kind in (*FORMS, *BEYOND, TAKES, OTHERS):
        values = np.array([value for band in bands for value in pairs.found.get((band, kind), ())])
        if len(values):
            spread = [values.min(), *np.percentile(values, [1, 50, 99]), values.max()]
            shown = " | ".join(f"{value:.3f}" for value in spread)
            yield f"| {kind} | {len(values):,} | {(values >= threshold).mean():.4f} | {shown} |"


def best_threshold(pairs: Pairs) -> float:
    """With the fewest mistakes on clips of 3 s and more."""
    bands = [number for number, (first, _) in enumerate(BANDS) if first >= 3]
    positives = np.concatenate([pairs.of(band, True) for band in bands])
    negatives = np.concatenate([pairs.of(band, False) for band in bands])
    steps = np.arange(0.1, 1.0, 0.01)
    mistakes = [(positives < step).sum() + (negatives >= step).sum() for step in steps]
    return float(steps[int(np.argmin(mistakes))])


def cost() -> Iterator[str]:
    samples = np.random.default_rng(1).standard_normal(6 * 16_000).astype(np.float32) * np.float32(0.1)
    made = fingerprint(samples, 16_000)
    stored = made.stored
    yield f"a fingerprint of 6 s: {milliseconds(lambda: fingerprint(samples, 16_000).stored):.2f} ms of CPU"
    yield f"comparing with one clip of the same words: {milliseconds(lambda: made.likeness(stored)):.2f} ms"
    yield f"stored of a clip: {len(stored)} bytes at most"
    yield index_cost(stored)


def index_cost(stored: bytes) -> str:
    """What a clip takes in an index of so many, each with words of its own."""
    place, random = ("GigaSpeech2", "train"), Random(1)
    entries = [
        Entry(f"GigaSpeech2/train/0-{number // 100}-{number}", random.randbytes(16), 6000, number, stored)
        for number in range(INDEXED_CLIPS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        index = ClipIndex(Path(folder) / "clips.sqlite", "benchmark")
        index.finish()
        began = time.process_time()
        for number, entry in enumerate(entries):
            assert index.same_audio(entry.audio_hash) is None
            assert index.same_words(number, 4900, 7100) == []
            index.add(place, number + 1, [entry])
        index.note_covered(place, Reached("0", INDEXED_CLIPS))
        each_ms = (time.process_time() - began) / INDEXED_CLIPS * 1000
        index.close()
        size_bytes = sum(path.stat().st_size for path in Path(folder).iterdir())
    taken = f"{each_ms:.2f} ms of CPU, {size_bytes / INDEXED_CLIPS:.0f} bytes on disk"
    return f"a look-up and an entry in the index of {INDEXED_CLIPS:,} clips: {taken}"


def milliseconds(work: Callable[[], object], rounds: int = 200, tries: int = 5) -> float:
    def once() -> float:
        began = time.process_time()
        for _ in range(rounds):
            work()
        return (time.process_time() - began) / rounds * 1000

    return min(once() for _ in range(tries))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sentences", type=int, default=48)
    parser.add_argument("--speakers", type=int, default=16, help="of each sentence (%(default)s)")
    parser.add_argument("--encoded", type=int, default=4, help="of these, in turns, are encoded anew (%(default)s)")
    parser.add_argument("--no-chromaprint", action="store_true", help="leave out fpcalc, where it is installed")
    given = parser.parse_args(arguments)
    voice: Any = Espeak() if shutil.which("espeak-ng") else Demo()
    with_chroma = bool(shutil.which("fpcalc")) and not given.no_chromaprint
    named = f"{given.sentences} sentences by {given.speakers} speakers, {given.encoded} of each encoded anew"
    print(f"Voices: {voice.name}; {named}\n")
    for name, pairs in compared(voice, given.sentences, given.speakers, given.encoded, with_chroma).items():
        best = best_threshold(pairs)
        threshold = SAME_RECORDING if name == "ours" else best
        print(f"{name}, the same recording from a likeness of {threshold:.2f} on (fewest mistakes: {best:.2f})\n")
        kinds = [*by_kind(pairs, threshold, 3, 99), "", *by_kind(pairs, threshold, 1, 3)]
        print("\n".join([*report(pairs, threshold), "", *kinds, ""]))
    print("\n".join(cost()))


if __name__ == "__main__":
    main()
