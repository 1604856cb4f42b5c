"""Which index Milvus is asked for, and how it is searched."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.settings import VectorIndexType, VectorSettings
from stores.vectors.milvus_index import VectorIndexSpec


@pytest.mark.parametrize(
    ("index", "built", "searched"),
    [
        ("FLAT", {}, {}),
        ("HNSW", {"M": 8, "efConstruction": 100}, {"ef": 90}),
        ("IVF_FLAT", {"nlist": 64}, {"nprobe": 16}),
        ("IVF_SQ8", {"nlist": 64}, {"nprobe": 16}),
        ("SCANN", {"nlist": 64}, {"nprobe": 16, "reorder_k": 90}),
        ("DISKANN", {}, {"search_list": 90}),
    ],
)
def test_each_type_has_its_parameters(index: VectorIndexType, built: dict[str, int], searched: dict[str, int]) -> None:
    """The settings give what a type is built and searched with, by Milvus' own names."""
    settings = VectorSettings(
        index=index, hnsw_m=8, hnsw_ef_construction=100, ivf_nlist=64, ivf_nprobe=16, search_ef=90
    )
    spec = VectorIndexSpec.wanted(settings)
    assert (spec.type, spec.parameters) == (index, built)
    assert spec.search_parameters(settings, limit=20) == searched


@pytest.mark.parametrize(("index", "name"), [("HNSW", "ef"), ("SCANN", "reorder_k"), ("DISKANN", "search_list")])
def test_a_search_looks_at_no_fewer_candidates_than_it_wants(index: VectorIndexType, name: str) -> None:
    """A wide window raises the candidates above ``search_ef``."""
    settings = VectorSettings(index=index, search_ef=64)
    assert VectorIndexSpec.wanted(settings).search_parameters(settings, limit=1000)[name] == 1000


@pytest.mark.parametrize("index", ["IVF_FLAT", "IVF_SQ8", "SCANN"])
def test_among_few_vectors_all_clusters_are_looked_into(index: VectorIndexType) -> None:
    """Those that it was built with, which the settings may not know any more."""
    built = VectorIndexSpec(index, {"nlist": 128})
    settings = VectorSettings(index=index, ivf_nlist=64, ivf_nprobe=16)
    assert built.search_parameters(settings, limit=10, among_few=True)["nprobe"] == 128
    assert built.search_parameters(settings, limit=10)["nprobe"] == 16


def test_an_index_is_compared_as_far_as_it_is_described() -> None:
    """Milvus describes parameters as texts, and Milvus Lite not at all."""
    wanted = VectorIndexSpec.wanted(VectorSettings(index="HNSW", hnsw_m=16, hnsw_ef_construction=200))
    described = {"index_type": "HNSW", "M": "16", "efConstruction": "200", "metric_type": "COSINE", "state": "Finished"}
    assert VectorIndexSpec.described(described).is_like(wanted)
    assert VectorIndexSpec.described({"index_type": "HNSW"}).is_like(wanted)
    assert not VectorIndexSpec.described(described | {"M": "32"}).is_like(wanted)
    assert not VectorIndexSpec.described({"index_type": "SCANN"}).is_like(wanted)


def test_no_more_clusters_are_searched_than_there_are() -> None:
    """Milvus would refuse each search."""
    with pytest.raises(ValidationError, match="ivf_nprobe is 128, but there are only ivf_nlist = 64 clusters"):
        VectorSettings(ivf_nlist=64, ivf_nprobe=128)
