"""How much memory decoding really takes, measured in processes of their own."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imaging.memory import MemoryBudget
from tests.harness.picture_files import photo, png, saved

MEGABYTE = 1024 * 1024

PROBE = """
import pathlib, sys
from imaging import opening, raster
from imaging.errors import UndecodableImage
from imaging.limits import DecodeLimits
from tests.harness.picture_files import photo, saved

def memory(field):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024

limits = DecodeLimits()
data, target = pathlib.Path(sys.argv[1]).read_bytes(), int(sys.argv[2])
for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
    raster.read(saved(photo(300, 200), kind), limits, 128, 128)
estimates = []
opening.check_memory = lambda memory, *of: estimates.append(memory)
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
try:
    raster.read(data, limits, target, target)
except UndecodableImage:
    pass
print(memory("VmHWM") - before, max(estimates, default=0))
"""


def peak_of(path: Path, target: int = 448) -> tuple[int, int]:
    """The bytes by which decoding this file raised a process's peak, reduced to no less, and the estimate for it."""
    command = [sys.executable, "-c", PROBE, str(path), str(target)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    peak, estimate = answer.stdout.split()
    return int(peak), int(estimate)


def large(mode: str) -> Image.Image:
    """A picture of 6 megapixels in this mode."""
    image = photo(3000, 2000)
    if mode in ("I;16", "F"):
        grey = np.asarray(image.convert("L"))
        return Image.fromarray(grey.astype(np.uint16) * 257 if mode == "I;16" else grey.astype(np.float32))
    return image.quantize(64) if mode == "P" else image.convert(mode)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("PNG", "RGBA", {"compress_level": 1}),
        ("PNG", "I;16", {"compress_level": 1}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
        ("TIFF", "RGBA", {"compression": "tiff_lzw", "tiffinfo": {274: 6, 278: 2000}}),
        ("TIFF", "F", {}),
        ("JPEG2000", "RGBA", {"quality_layers": [20]}),
        ("AVIF", "RGBA", {"speed": 10, "subsampling": "4:4:4"}),
    ],
)
def test_the_estimate_holds(tmp_path: Path, name: str, mode: str, options: dict[str, object]) -> None:
    """Decoding takes no more than the estimate, two copies of the file and 32 MiB."""
    path = tmp_path / "picture"
    path.write_bytes(saved(large(mode), name, **options))
    peak, estimate = peak_of(path)
    assert estimate > 0
    assert peak <= estimate + 2 * path.stat().st_size + 32 * MEGABYTE


@pytest.mark.slow
def test_the_estimate_holds_for_what_is_hardly_reduced(tmp_path: Path) -> None:
    """A model with a large `reducing_gap` has the picture nearly in full beside what was decoded."""
    path = tmp_path / "picture"
    path.write_bytes(saved(photo(4000, 4000), "JPEG"))
    peak, estimate = peak_of(path, target=2048)
    assert estimate >= 2 * 4 * 4000 * 4000
    assert peak <= estimate + 2 * path.stat().st_size + 32 * MEGABYTE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_the_estimate_holds_for_animations(tmp_path: Path, kind: str) -> None:
    """Frames that are looked at take no more than is stated of them."""
    path = tmp_path / "picture"
    frames = [photo(1500, 1000, seed) for seed in range(4)]
    options = {"speed": 10} if kind == "AVIF" else {"lossless": True, "method": 0} if kind == "WEBP" else {}
    path.write_bytes(saved(Image.new("RGB", (1500, 1000)), kind, save_all=True, append_images=frames, **options))
    peak, estimate = peak_of(path)
    assert peak <= estimate + 2 * path.stat().st_size + 32 * MEGABYTE


@pytest.mark.slow
def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """A PNG of 60,000 × 60,000 is refused without memory for a single row of it."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png(60_000, 60_000, bytes(180_001)))
    peak, estimate = peak_of(path)
    assert estimate == 0
    assert peak <= 4 * MEGABYTE


def test_reservations_stay_within_the_capacity() -> None:
    """Threads that ask for more than there is wait for one another, and all are served."""
    budget, lock, held, peak, done = MemoryBudget(), threading.Lock(), 0, 0, 0

    def use(size: int) -> None:
        nonlocal held, peak, done
        with budget.reserve(size, 100):
            with lock:
                held += size
                peak = max(peak, held)
            with lock:
                held -= size
                done += 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, [10, 60, 90, 30, 100, 1, 45, 70] * 100))
    assert done == 800
    assert peak <= 100


def test_an_oversized_reservation_is_served_alone() -> None:
    """A reservation above the capacity doesn't wait for ever, and small ones wait for it."""
    budget = MemoryBudget()
    entered = threading.Event()

    def small() -> None:
        with budget.reserve(1, 100):
            entered.set()

    with budget.reserve(500, 100):
        thread = threading.Thread(target=small)
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(5)
    thread.join(5)


def test_the_budget_is_given_back_when_decoding_fails() -> None:
    """An error inside a reservation frees it."""
    budget = MemoryBudget()
    for _ in range(3):
        with pytest.raises(KeyError), budget.reserve(100, 100):
            raise KeyError
    with budget.reserve(100, 100):
        pass
