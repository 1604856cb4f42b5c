"""What a file is, by its first bytes. Names and declared content types are never asked."""

import re
from collections.abc import Callable
from typing import Final, Literal

from imaging.errors import NotAnImage, UnsupportedFormat

Format = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heic", "jxl", "jp2", "ico", "psd", "raw"]

PANASONIC_RAW: Final = b"IIU\0"
FUJI_RAW: Final = b"FUJIFILMCCD-RAW "
OLYMPUS_RAW: Final = (b"IIRO", b"IIRS", b"MMOR")
SIGMA_RAW: Final = b"FOVb"
CANON_RAW: Final = b"ftypcrx "

_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"mif1", b"msf1")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs")

_PICTURES: tuple[tuple[Format, tuple[bytes, ...]], ...] = (
    ("jpeg", (b"\xff\xd8\xff",)),
    ("png", (b"\x89PNG\r\n\x1a\n",)),
    ("gif", (b"GIF87a", b"GIF89a")),
    ("tiff", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("bmp", (b"BM",)),
    ("jxl", (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    ("jp2", (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    ("ico", (b"\0\0\1\0",)),
    ("psd", (b"8BPS\0\1",)),
    ("raw", (PANASONIC_RAW, FUJI_RAW, *OLYMPUS_RAW, SIGMA_RAW)),
)

_OTHER_PICTURES: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("a PDF document", (b"%PDF",)),
    ("a large Photoshop document (PSB)", (b"8BPS",)),
    ("a PostScript document", (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    ("a JPEG XR picture", (b"II\xbc",)),
    ("an OpenEXR picture", (b"v/1\x01",)),
    ("a Radiance picture", (b"#?RADIANCE", b"#?RGBE")),
    ("a Netpbm picture", tuple(b"P%c%c" % (kind, space) for kind in b"1234567fF" for space in b"\n ")),
    ("a QOI picture", (b"qoif",)),
    ("a DirectDraw surface", (b"DDS ",)),
    ("a GIMP document", (b"gimp xcf",)),
    ("an Apple icon", (b"icns",)),
    ("a Windows cursor", (b"\0\0\2\0",)),
    ("a BPG picture", (b"BPG\xfb",)),
    ("a FLIF picture", (b"FLIF",)),
    ("a MNG or JNG picture", (b"\x8aMNG\r\n\x1a\n", b"\x8bJNG\r\n\x1a\n")),
    ("a DjVu document", (b"AT&TFORM",)),
    ("a FITS picture", (b"SIMPLE  =",)),
    ("a Windows metafile", (b"\xd7\xcd\xc6\x9a",)),
)

_FURTHER_IN = (("a DICOM picture", b"DICM", 128), ("a Windows metafile", b" EMF", 40))
"""What is told by bytes that don't begin the file, and where they are."""

_OTHER_FILES: tuple[tuple[str, bytes], ...] = (
    ("a ZIP archive", b"PK\3\4"),
    ("a Windows program", b"MZ"),
    ("a program", b"\x7fELF"),
    ("a gzip archive", b"\x1f\x8b"),
    ("a 7z archive", b"7z\xbc\xaf\x27\x1c"),
    ("a RAR archive", b"Rar!"),
)


def format_of(data: bytes) -> Format:
    """The format that the bytes announce.

    Raises `UnsupportedFormat` for pictures and documents of other kinds and `NotAnImage` for all else, each
    saying what the bytes look like.
    """
    for name, signatures in _PICTURES:
        if data.startswith(signatures):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _iso_media_format(data)
    raise _refusal(data)


def _iso_media_format(data: bytes) -> Format:
    major, compatible = data[8:12], data[16:64]
    if major in _AVIF_BRANDS or (major in _HEIF_BRANDS and any(brand in compatible for brand in _AVIF_BRANDS)):
        return "avif"
    if major in _HEIC_BRANDS or major in _HEIF_BRANDS:
        return "heic"
    if data[4:12] == CANON_RAW:
        return "raw"
    raise NotAnImage("The file is a video or another ISO media file, not a picture.")


def _refusal(data: bytes) -> UnsupportedFormat | NotAnImage:
    for name, signatures in _OTHER_PICTURES:
        if data.startswith(signatures):
            return UnsupportedFormat(f"The file is {name}, which is not supported.")
    for name, signature, at in _FURTHER_IN:
        if data.startswith(signature, at):
            return UnsupportedFormat(f"The file is {name}, which is not supported.")
    for name, signature in _OTHER_FILES:
        if data.startswith(signature):
            return NotAnImage(f"The file is {name}, not a picture.")
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<") and _SVG.match(data[:_SVG_SEARCHED]):
        return UnsupportedFormat("The file is an SVG drawing, which is not supported.")
    for name, is_it in _TEXTS:
        if is_it(head):
            return NotAnImage(f"The file is {name}, not a picture.")
    return NotAnImage("The file is not a picture of any known format.")


_SVG_SEARCHED = 256 * 1024
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s+|<\?(?s:.)*?\?>|<!--(?s:.)*?-->|<!doctype[^>\[]*(?:\[[^\]]*\]\s*)?>)*+<(?:\w+:)?svg[\s>]",
    re.IGNORECASE,
)
"""An SVG drawing: its first element, after any number of comments and declarations."""

_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\v\f\r")


def _looks_like_text(head: bytes) -> bool:
    return bool(head) and _CONTROLS.isdisjoint(head)


_TEXTS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("an HTML page", lambda head: head.startswith((b"<!doctype html", b"<html"))),
    ("an XML document", lambda head: head.startswith(b"<?xml")),
    ("text", _looks_like_text),
)
