"""Vectors: the real networks, and the histogram that stands in for them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from imaging.decoding import Pixels, decode
from imaging.embedding import Embedder, OnnxEmbedder, unit_rows
from imaging.errors import EmbeddingError, ModelError
from imaging.histogram import HistogramEmbedder
from imaging.model_spec import ModelSpec, OnnxFile, load_spec
from imaging.session import RUNTIME_ERRORS
from schemas.errors import InferenceOutage
from tests.harness.picture_files import LIMITS, photo, saved


@pytest.fixture(scope="module", params=["sscd", "sscd_distilled", "histogram"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    """Each embedder once."""
    return HistogramEmbedder() if request.param == "histogram" else OnnxEmbedder(load_spec(request.param))


def pictures(embedder: Embedder, count: int) -> list[Pixels]:
    """So many different pictures at the embedder's size, with a black, a white and a noisy one among them."""
    spec = embedder.pixel_spec
    shape = (spec.height, spec.width, 3)
    odd = [np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)]
    odd.append(np.random.Generator(np.random.PCG64(1)).integers(0, 256, shape, np.uint8))
    files = (saved(photo(300, 200, seed), "PNG") for seed in range(count - 3))
    return [decode(data, LIMITS, spec).pixels for data in files] + odd


def test_vectors_are_unit_float32(embedder: Embedder) -> None:
    """Each picture gives a float32 vector of length 1 and the embedder's dimension; no picture gives none."""
    vectors = embedder.embed(pictures(embedder, 11))
    assert vectors.shape == (11, embedder.dimension) == (11, 512)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert embedder.embed([]).shape == (0, 512)


def test_neighbours_in_the_batch_dont_matter(embedder: Embedder) -> None:
    """A picture's vector is the same alone, in any batch, and in the reverse order."""
    batch = pictures(embedder, 11)
    together = embedder.embed(batch)
    alone = np.concatenate([embedder.embed([one]) for one in batch])
    reverse = embedder.embed(batch[::-1])[::-1]
    assert (together * alone).sum(axis=1).min() >= 0.9999
    assert (together * reverse).sum(axis=1).min() >= 0.9999


def test_threads_share_an_embedder(embedder: Embedder) -> None:
    """Concurrent calls give what one after the other gives."""
    batch = pictures(embedder, 5)
    expected = embedder.embed(batch)
    with ThreadPoolExecutor(4) as threads:
        for vectors in threads.map(lambda _: embedder.embed(batch), range(6)):
            assert (vectors * expected).sum(axis=1).min() >= 0.9999


def test_copies_are_nearer_than_others(embedder: Embedder) -> None:
    """A recompressed half-size copy is nearer to its original than any other picture is."""
    spec = embedder.pixel_spec
    originals = [photo(300, 200, seed).rotate(40 * seed) for seed in range(5)]
    copies = [saved(one.resize((150, 100)), "JPEG", quality=30) for one in originals]
    there = embedder.embed([decode(saved(one, "PNG"), LIMITS, spec).pixels for one in originals])
    found = embedder.embed([decode(one, LIMITS, spec).pixels for one in copies])
    assert (found @ there.T).argmax(axis=1).tolist() == [0, 1, 2, 3, 4]


def test_wrong_pixels_are_refused(embedder: Embedder) -> None:
    """Pixels of another size or type are a ValueError that says what was expected."""
    with pytest.raises(ValueError, match="expected uint8 pixels"):
        embedder.embed([np.zeros((10, 10, 3), np.uint8)])
    spec = embedder.pixel_spec
    with pytest.raises(ValueError, match="float32"):
        embedder.embed([np.zeros((spec.height, spec.width, 3), np.float32)])


def test_a_network_that_stops_computing_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is lost after the start is no fault of the pictures, and a new process may find it again."""
    embedder = OnnxEmbedder(load_spec("sscd_distilled"))

    class Lost:
        def run(self, *_: object) -> NoReturn:
            raise RUNTIME_ERRORS[0]("CUDA failure 999")

    monkeypatch.setattr(embedder, "_session", Lost())
    with pytest.raises(InferenceOutage, match="CUDA failure 999"):
        embedder.embed(pictures(embedder, 2))


def test_a_jpeg_decoded_at_a_fraction_embeds_alike() -> None:
    """Decoding a large JPEG at a fraction of its size changes its vector by next to nothing."""
    embedder = OnnxEmbedder(load_spec("sscd_distilled"))
    large = photo(2400, 1800, 3)
    fraction = decode(saved(large, "JPEG", quality=92), LIMITS, embedder.pixel_spec).pixels
    in_full = np.asarray(large.resize((224, 224), 2))
    one, other = embedder.embed([fraction, in_full])
    assert float(one @ other) > 0.99


@pytest.mark.parametrize("bad", [[[np.nan, 1]], [[np.inf, 1]], [[0, 0]]])
def test_what_has_no_direction_is_an_error(bad: list[list[float]]) -> None:
    """NaN, infinity and zeros are no vectors."""
    with pytest.raises(EmbeddingError):
        unit_rows(np.asarray(bad, np.float32))


def changed(**changes: object) -> ModelSpec:
    """The distilled model's spec with something wrong in it."""
    return load_spec("sscd_distilled").model_copy(update=changes)


def test_spec_and_network_must_match() -> None:
    """A spec that doesn't describe the network is refused at the start, naming the difference."""
    right = load_spec("sscd_distilled")
    with pytest.raises(ModelError, match="512"):
        OnnxEmbedder(changed(dimension=256))
    with pytest.raises(ModelError, match="embedding"):
        OnnxEmbedder(changed(output="vector"))
    with pytest.raises(ModelError, match="image"):
        OnnxEmbedder(changed(input=right.input.model_copy(update={"name": "pixels"})))
    with pytest.raises(ModelError, match="float"):
        OnnxEmbedder(changed(input=right.input.model_copy(update={"dtype": "float32"})))
    with pytest.raises(ModelError, match="can't take"):
        OnnxEmbedder(changed(input=right.input.model_copy(update={"layout": "NCHW"})))


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    """A missing or broken network file is a clear error."""
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match="no file"):
        OnnxEmbedder(changed(onnx=OnnxFile(path=path)))
    path.write_bytes(b"not a network")
    with pytest.raises(ModelError, match="can't be loaded"):
        OnnxEmbedder(changed(onnx=OnnxFile(path=path)))
