"""Camera raw files: the full preview that lies within, each maker's in another place."""

import random
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from imaging.decoding import decode
from imaging.errors import UndecodableImage, UnsupportedFormat
from tests.harness.fuzzing import fuzz
from tests.harness.picture_files import LIMITS, SMALL, photo, saved, tiff
from tests.unit.imaging.pixels import distance, pixels_of

FULL, THUMBNAIL = (960, 640), (160, 120)


def box(kind: bytes, content: bytes) -> bytes:
    """One box of an ISO media file."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def canon(full: bytes, thumbnail: bytes, orientation: int = 1) -> bytes:
    """A CR3: directory and thumbnail in `moov`, a preview of middle size in a `uuid`, the full one in `mdat`."""
    directory = tiff([(274, 3, 1, orientation)])
    moov = box(b"moov", box(b"uuid", bytes(16) + box(b"CMT1", directory) + box(b"THMB", bytes(12) + thumbnail)))
    middle = saved(photo(*FULL).resize((660, 440)), "JPEG")
    preview = box(b"uuid", bytes(16) + box(b"PRVW", bytes(16) + middle))
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + moov + preview + box(b"mdat", bytes(999) + full)


def olympus(full: bytes, thumbnail: bytes, orientation: int = 1) -> bytes:
    """An ORF: a TIFF with a number of its own, and the preview somewhere within the maker's notes."""
    return b"IIRO" + tiff([(274, 3, 1, orientation)], thumbnail + bytes(99) + full + bytes(5000))[4:]


def sigma(full: bytes, thumbnail: bytes, _orientation: int = 1) -> bytes:
    """An X3F: sections one after the other."""
    return b"FOVb" + bytes(60) + b"SECi" + thumbnail + b"SECi" + full + bytes(200)


def fuji(full: bytes, _thumbnail: bytes, _orientation: int = 1) -> bytes:
    """A RAF: its header says where the preview lies."""
    return (b"FUJIFILMCCD-RAW ").ljust(84, b"0") + struct.pack(">II", 148, len(full)) + bytes(56) + full + bytes(999)


def panasonic(full: bytes, _thumbnail: bytes, orientation: int = 1) -> bytes:
    """An RW2: a TIFF with a number of its own, whose tag 0x2E is the preview."""
    at = 8 + 2 + 2 * 12 + 4
    return b"IIU\0" + tiff([(0x2E, 7, len(full), at), (274, 3, 1, orientation)], full)[4:]


MAKERS: dict[str, Callable[..., bytes]] = {
    "CR3": canon, "ORF": olympus, "X3F": sigma, "RAF": fuji, "RW2": panasonic,
}  # fmt: skip
THUMB = saved(photo(*THUMBNAIL, seed=4), "JPEG")


@pytest.mark.parametrize("maker", MAKERS)
def test_the_largest_preview_is_the_picture(maker: str) -> None:
    """Of all JPEG files within a raw file the one of full size is decoded."""
    image = decode(MAKERS[maker](saved(photo(*FULL), "JPEG"), THUMB), LIMITS, SMALL)
    assert (image.format, image.width, image.height, image.share) == ("raw", *FULL, None)
    assert distance(image.pixels.astype(np.int16), pixels_of(saved(photo(*FULL), "PNG"))) < 4


@pytest.mark.parametrize("maker", ["CR3", "ORF", "RW2"])
def test_a_preview_is_turned_as_its_raw_file_says(maker: str) -> None:
    """Pictures taken upright are upright."""
    image = decode(MAKERS[maker](saved(photo(*FULL), "JPEG"), THUMB, 8), LIMITS, SMALL)
    upright = photo(*FULL).transpose(Image.Transpose.ROTATE_90)
    assert (image.width, image.height) == upright.size
    assert distance(image.pixels.astype(np.int16), pixels_of(saved(upright, "PNG"))) < 4


@pytest.mark.parametrize("maker", MAKERS)
def test_a_thumbnail_is_never_the_picture(maker: str) -> None:
    """A raw file with nothing but a thumbnail, or nothing at all, is told as a camera raw file."""
    makers = {**MAKERS, "CR3": lambda full, _: box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"mdat", full)}
    for full in (THUMB, b""):
        with pytest.raises(UnsupportedFormat, match="camera raw"):
            decode(makers[maker](full, THUMB), LIMITS, SMALL)


def test_a_preview_is_as_little_trusted_as_any_jpeg() -> None:
    """What a JPEG may have of scans holds for a preview, too, and one that was cut short says so."""
    whole = saved(photo(*FULL), "JPEG", progressive=True)
    at = whole.rindex(b"\xff\xda")
    bomb = whole[:at] + whole[at:-2] * 1000 + b"\xff\xd9"
    with pytest.raises(UndecodableImage, match="scans"):
        decode(olympus(bomb, THUMB), LIMITS, SMALL)
    plain = saved(photo(*FULL), "JPEG")
    share = decode(fuji(plain, THUMB)[: -999 - len(plain) // 4], LIMITS, SMALL).share
    assert share == pytest.approx(0.75, abs=0.15)


@pytest.mark.fuzz
@pytest.mark.parametrize("maker", MAKERS)
def test_damaged_raw_files_give_a_picture_or_a_reason(maker: str) -> None:
    """Whatever is wrong with them, and nothing else."""
    chance, whole = random.Random(maker), MAKERS[maker](saved(photo(*FULL), "JPEG", quality=20), THUMB)

    def try_one() -> None:
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            at = int(chance.random() ** 2 * len(data))
            data[at : at + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 4))
        try:
            assert decode(bytes(data), LIMITS, SMALL).pixels.shape == (32, 32, 3)
        except UndecodableImage as error:
            assert error.detail  # noqa: PT017 -- either outcome is right

    fuzz(try_one)
