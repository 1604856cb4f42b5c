"""The made-up vectors of `make bench SCALE=N`, and the exact answers that recall is measured by."""

from __future__ import annotations

import numpy as np
import pytest

from bench.exact import NEAREST, Kind, Nearest
from bench.scale import Variant
from bench.synthetic import BLOCK, SyntheticVectors


def test_vectors_are_the_same_each_time_and_of_unit_length() -> None:
    """Blocks can be made again, and hold as many vectors as were asked for."""
    first, second = (list(SyntheticVectors(BLOCK + 5, 32).blocks()) for _ in range(2))
    assert [len(block) for block in first] == [BLOCK, 5]
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert np.allclose(np.linalg.norm(first[0], axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_vectors_lie_as_those_of_photographs_do() -> None:
    """Pairs, and nearest neighbours, have about the cosines that were measured among 1,000 photographs."""
    [block] = SyntheticVectors(1000, 512).blocks()
    cosines = block @ block.T
    np.fill_diagonal(cosines, np.nan)
    nearest = -np.sort(-np.nan_to_num(cosines, nan=-1), axis=1)
    assert abs(float(np.nanmean(cosines)) - 0.035) < 0.01
    assert abs(float(np.nanstd(cosines)) - 0.073) < 0.01
    assert abs(float(np.median(nearest[:, 0])) - 0.386) < 0.05
    assert abs(float(np.median(nearest[:, 9])) - 0.244) < 0.05


@pytest.mark.slow
def test_a_query_is_a_copy_of_a_stored_vector() -> None:
    """Its nearest vector is the one that it was made of."""
    vectors = SyntheticVectors(2000, 512)
    [block] = vectors.blocks()
    assert np.array_equal(np.argmax(vectors.queries(50) @ block.T, axis=1), np.arange(50))


def test_exact_answers_are_the_nearest_of_all_blocks() -> None:
    """However the vectors come by, and also where only some of them may be found."""
    vectors = SyntheticVectors(900, 64)
    [block] = vectors.blocks()
    queries = vectors.queries(20)
    for kind, allowed in [(Kind("all"), np.arange(900)), (Kind("bucket", bucket="rare"), np.arange(0, 900, 20))]:
        nearest = Nearest(queries, kind)
        for first in range(0, 900, 70):
            nearest.see(first, block[first : first + 70])
        right = allowed[np.argsort(-(queries @ block[allowed].T), axis=1)[:, :NEAREST]]
        assert np.array_equal(np.sort(nearest.positions), np.sort(right))


def test_an_index_is_tried_with_the_efforts_that_its_clusters_allow() -> None:
    """`TYPE:SETTING=VALUE` names settings; a search looks into no more clusters than there are; nonsense is refused."""
    variant = Variant.read("IVF_SQ8:ivf_nlist=128")
    assert variant.settings == {"index": "IVF_SQ8", "ivf_nlist": "128"}
    assert [effort["ivf_nprobe"] for effort in variant.efforts()] == [16, 32, 64, 128]
    for wrong in ("IVF", "HNSW:hnsw_m", "HNSW:links=8", "HNSW:hnsw_m=many"):
        with pytest.raises(ValueError, match=r"hnsw_m|links|index|length"):
            Variant.read(wrong)
