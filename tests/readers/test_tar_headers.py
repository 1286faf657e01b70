"""The quick look at a tar's usual header: the law is that tarfile finds the same there, or is asked."""

import io
import random
import tarfile

import pytest

from processors.readers.tar_headers import TarHeader

LOOKED_AT = ("name", "size", "type", "linkname", "sparse")


def header(name: str, form: int = tarfile.GNU_FORMAT, **fields: object) -> bytes:
    """The first block of a member with this name."""
    member = tarfile.TarInfo(name)
    for field, value in {"size": 12_345, "mtime": 1_700_000_000, "uid": 1000, "gname": "users", **fields}.items():
        setattr(member, field, value)
    return member.tobuf(form, "utf-8", "surrogateescape")[: tarfile.BLOCKSIZE]


def found(kind: type[tarfile.TarInfo], block: bytes) -> object:
    try:
        member = kind.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError as error:
        return type(error), str(error)
    return [getattr(member, name) for name in LOOKED_AT]


HEADERS = [
    header("data/th/train/0/1/0-1-1.wav"),
    header("ก" * 30 + ".wav", tarfile.PAX_FORMAT),
    header("a/" * 60 + "b.wav", tarfile.USTAR_FORMAT),
    header("x" * 100, tarfile.USTAR_FORMAT),
    header("large.wav", size=1 << 34),
    header("folder", type=tarfile.DIRTYPE, size=0),
    header("link.wav", type=tarfile.SYMTYPE, linkname="a.wav", size=0),
    header("hard.wav", type=tarfile.LNKTYPE, linkname="a.wav", size=0),
    header("device", type=tarfile.CHRTYPE, devmajor=1, devminor=2, size=0),
    header("old.wav", type=tarfile.AREGTYPE),
    header("old/", type=tarfile.AREGTYPE),
    header("holes.wav", type=tarfile.GNUTYPE_SPARSE),
    header("before 1970.wav", mtime=-1),
    bytes(tarfile.BLOCKSIZE),
    b"",
    b"short",
]


@pytest.mark.parametrize("block", HEADERS, ids=lambda block: block[:12].strip(b"\0").decode(errors="replace"))
def test_a_header_is_what_tarfile_finds(block: bytes) -> None:
    assert found(TarHeader, block) == found(tarfile.TarInfo, block)


def test_the_usual_one_is_not_left_to_tarfile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarfile.TarInfo, "frombuf", pytest.fail)

    assert TarHeader.frombuf(HEADERS[0], "utf-8", "replace").size == 12_345


def test_bent_headers_are_what_tarfile_finds() -> None:
    """Some bytes of another kind, the checksum made right or left wrong."""
    chance = random.Random(3)
    quick = 0
    for turn in range(6000):
        block = bytearray(chance.choice(HEADERS[:12]))
        for _ in range(chance.randint(1, 3)):
            at = chance.choice((chance.randrange(512), chance.randrange(100, 160), chance.randrange(325, 350)))
            block[at] = chance.choice((0, ord(" "), ord("0"), ord("7"), ord("8"), 0x80, 0xFF, chance.randrange(256)))
        if chance.random() < 0.7:
            total = sum(block) - sum(block[148:156]) + 256
            block[148:156] = b"%06o\0 " % total
        ours = found(TarHeader, bytes(block))
        assert ours == found(tarfile.TarInfo, bytes(block)), (turn, bytes(block))
        quick += isinstance(ours, list)
    assert quick > 500


def test_an_archive_is_read_as_ever() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a.wav", "ก" * 60 + ".wav", "b" * 150 + ".wav", "c.wav"):
            member = tarfile.TarInfo(name)
            member.size = 600
            tar.addfile(member, io.BytesIO(bytes(600)))

    read = []
    for kind in (tarfile.TarInfo, TarHeader):
        with tarfile.open(fileobj=io.BytesIO(file.getvalue()), tarinfo=kind) as tar:
            read.append([(member.name, member.size, member.offset_data) for member in tar])

    assert read[0] == read[1]
    assert len(read[0]) == 4
