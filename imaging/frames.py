"""Animations: which files may be one, and the frames of it that are looked at."""

from imaging.containers import keep_frames_of_gif, keep_frames_of_png
from imaging.frame_choice import MAX_FRAMES
from imaging.lightened import Lightened
from imaging.sniffing import Format


def is_animated(data: bytes, kind: Format) -> bool:
    """Whether there may be more frames than one."""
    match kind:
        case "gif":
            return True
        case "png":
            return data.find(b"acTL", 8, data.find(b"IDAT")) > 0
        case "webp":
            return data[12:16] == b"VP8X" and bool(data[20] & 2)
        case "avif":
            return b"avis" in data[8:64]
    return False


def keep_frames(data: bytes, kind: Format) -> Lightened:
    """The file with as many frames as may be looked at."""
    match kind:
        case "gif":
            return keep_frames_of_gif(data, MAX_FRAMES)
        case "png":
            return keep_frames_of_png(data, MAX_FRAMES)
    return Lightened(data)
