"""What a thread uses again from clip to clip (files, resamplers, memory) leaves nothing of one clip in the next."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.audio.test_standardize import encoded, speech
from utils.audio.memory_file import MemoryFile
from utils.audio.standardize import AudioRejected, standardize_audio
from utils.choices import AudioOptions

KINDS = ("wav", "flac", "mp3", "vorbis")


def in_a_new_thread(clip: bytes, audio_format: str) -> bytes:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(standardize_audio, clip, AudioOptions(audio_format=audio_format)).result().data


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_a_clip_comes_out_as_if_it_were_the_first(audio_format: str) -> None:
    """Long before short, other rates in between, the same rate twice, and after one that fails half-way."""
    clips = [
        encoded(speech(seconds, rate), rate, kind) for kind in KINDS for seconds, rate in ((2, 48_000), (1, 44_100))
    ]
    clips += [encoded(speech(seconds, 48_000), 48_000) for seconds in (3, 1, 2)]
    cut = encoded(speech(2, 48_000), 48_000, "flac")[:-4000]
    alone = [in_a_new_thread(clip, audio_format) for clip in clips]

    with ThreadPoolExecutor(1) as pool:

        def convert(clip: bytes) -> bytes:
            with pytest.raises(AudioRejected):
                standardize_audio(cut, AudioOptions(audio_format=audio_format))
            return standardize_audio(clip, AudioOptions(audio_format=audio_format)).data

        assert list(pool.map(convert, clips)) == alone


def test_a_child_has_files_of_its_own() -> None:
    """One file in two processes would have the content of whoever wrote last."""
    MemoryFile(b"used before").close()
    begin, begun = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(begin, 1)
        with MemoryFile(b"the child's"):
            os._exit(0)
    with MemoryFile(b"the parent's") as ours:
        os.write(begun, b"!")
        assert os.waitpid(child, 0)[1] == 0
        assert ours.content() == b"the parent's"
    os.close(begin)
    os.close(begun)


def test_a_shorter_content_ends_where_it_ends() -> None:
    """Nothing of the longer one before it is behind it."""
    MemoryFile(b"a long content").close()
    with MemoryFile(b"short") as file:
        assert file.content() == b"short"
        assert file.position() == 0


def test_two_that_are_open_are_two() -> None:
    """A clip may be read while another is written."""
    with MemoryFile(b"one") as one, MemoryFile(b"two") as two:
        assert (one.content(), two.content()) == (b"one", b"two")


def test_closing_twice_gives_a_file_back_once() -> None:
    """Else two clips would share it."""
    file = MemoryFile(b"before")
    file.close()
    file.close()
    with MemoryFile(b"one") as one, MemoryFile(b"two") as two:
        assert (one.content(), two.content()) == (b"one", b"two")
