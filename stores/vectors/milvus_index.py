"""The index that Milvus keeps over the vectors: its type, and the parameters of building it and of searching it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from schemas.settings import VectorSettings

_IVF: Final = frozenset({"IVF_FLAT", "IVF_SQ8", "SCANN"})
"""Vectors in clusters, of which a search looks into the nearest few."""


@dataclass(frozen=True, slots=True)
class VectorIndexSpec:
    """An index: its type, and what it is built with."""

    type: str
    parameters: Mapping[str, int]

    @classmethod
    def wanted(cls, settings: VectorSettings) -> Self:
        """The one that the settings ask for."""
        if settings.index == "HNSW":
            return cls("HNSW", {"M": settings.hnsw_m, "efConstruction": settings.hnsw_ef_construction})
        return cls(settings.index, {"nlist": settings.ivf_nlist} if settings.index in _IVF else {})

    @classmethod
    def described(cls, description: Mapping[str, Any]) -> Self:
        """The one that Milvus describes; of its parameters, those that Twinlens sets."""
        names = ("M", "efConstruction", "nlist")
        return cls(description["index_type"], {name: int(description[name]) for name in names if name in description})

    def is_like(self, other: Self) -> bool:
        """Whether type and parameters are the same, as far as both name them (Milvus Lite tells the type only)."""
        shared = self.parameters.keys() & other.parameters.keys()
        return self.type == other.type and all(self.parameters[name] == other.parameters[name] for name in shared)

    def search_parameters(self, settings: VectorSettings, limit: int, *, among_few: bool = False) -> dict[str, int]:
        """How to search it for ``limit`` vectors: no index finds more than it looks at.

        ``among_few``: only a few thousand vectors count. They may lie in any cluster, and to pass over the others there
        costs little; HNSW does likewise by itself.
        """
        candidates = max(settings.search_ef, limit)
        nprobe = self.parameters.get("nlist", settings.ivf_nlist) if among_few else settings.ivf_nprobe
        match self.type:
            case "HNSW":
                return {"ef": candidates}
            case "DISKANN":
                return {"search_list": candidates}
            case "SCANN":
                return {"nprobe": nprobe, "reorder_k": candidates}
            case "IVF_FLAT" | "IVF_SQ8":
                return {"nprobe": nprobe}
            case _:
                return {}

    def __str__(self) -> str:
        given = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        return f"{self.type} ({given})" if given else self.type
