"""How far a failure of the object store reaches."""

from __future__ import annotations

import asyncio

import pytest

from schemas.errors import TIMEOUT, BucketOutage, ObjectStoreOutage, ObjectUnreadable, RequestRefused
from schemas.records import ObjectRef
from stores.objects.memory import MemoryObjects
from streams.common import scope
from streams.common.scope import listed, scoped

REF = ObjectRef("pictures", "a.png")
PASSING = ObjectStoreOutage("the bytes broke off", code="ConnectionBroken")
DENIED = ObjectStoreOutage("no", code="AccessDenied", definite=True)


class Looks:
    """A look that meets each of these errors in turn, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.made = 0

    async def __call__(self) -> str:
        """One look."""
        self.made += 1
        if self._errors:
            raise self._errors.pop(0)
        return "seen"


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> MemoryObjects:
    """A store with one bucket; between two looks at an object of it no time passes."""
    monkeypatch.setattr(scope, "PAUSES_S", (0.0, 0.0))
    return MemoryObjects(["pictures"])


async def test_what_passes_is_nobodys_fault(objects: MemoryObjects) -> None:
    """A look that fails twice and then succeeds has succeeded."""
    looks = Looks(PASSING, PASSING)
    assert await scoped(REF, looks, objects) == "seen"
    assert looks.made == 3


@pytest.mark.parametrize(
    ("error", "code", "looks_made"),
    [
        (PASSING, "ConnectionBroken", 3),
        (DENIED, "AccessDenied", 1),
        (ObjectStoreOutage("slow", code=TIMEOUT), TIMEOUT, 1),
        (RequestRefused("a segment is empty"), "InvalidObjectName", 1),
    ],
)
async def test_what_fails_while_the_bucket_answers_is_a_fact_about_the_object(
    objects: MemoryObjects, error: Exception, code: str, looks_made: int
) -> None:
    """What may pass is looked at three times; a definite answer is not asked for again, and no wait is waited twice."""
    looks = Looks(*[error] * 10)
    with pytest.raises(ObjectUnreadable) as raised:
        await scoped(REF, looks, objects)
    assert raised.value.code == code
    assert looks.made == looks_made


async def test_a_missing_bucket_is_an_outage_of_that_bucket(objects: MemoryObjects) -> None:
    """Whatever the look itself was told."""
    objects.missing.add("pictures")
    with pytest.raises(BucketOutage) as raised:
        await scoped(REF, Looks(DENIED), objects)
    assert raised.value.bucket == "pictures"


async def test_a_server_that_is_away_is_an_outage_of_the_server(objects: MemoryObjects) -> None:
    """Nothing is said about bucket or object then."""
    objects.outage = True
    with pytest.raises(ObjectStoreOutage) as raised:
        await scoped(REF, Looks(DENIED), objects)
    assert not isinstance(raised.value, BucketOutage)


async def test_a_server_that_never_answers_is_an_outage_too(
    objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket's check has a time limit of its own."""
    monkeypatch.setattr(scope, "CHECK_TIMEOUT_S", 0.01)

    async def check(_bucket: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(objects, "check", check)
    with pytest.raises(ObjectStoreOutage, match="no answer within"):
        await scoped(REF, Looks(PASSING), objects)


async def test_a_listing_tells_of_an_object_that_cant_be_read(objects: MemoryObjects) -> None:
    """With the fingerprint that a look would have seen, and of no other object whose key begins so."""
    state = objects.put_now(REF, b"x")
    objects.put_now(ObjectRef("pictures", "b.png.old"), b"y")
    objects.denied.add(REF)
    found = await listed(REF, objects)
    assert found is not None
    assert found.fingerprint == state.fingerprint
    assert await listed(ObjectRef("pictures", "b.png"), objects) is None


async def test_what_cant_be_listed_is_not_gone(objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that is denied says nothing about the object, while the bucket answers."""

    def denied(_bucket: str, *, prefix: str) -> object:
        raise ObjectStoreOutage(f"{prefix}: no", code="AccessDenied", definite=True)

    monkeypatch.setattr(objects, "list", denied)
    found = await listed(REF, objects)
    assert found is not None
    assert found.ref == REF


async def test_a_key_that_the_server_refuses_is_nobodys(
    objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There can be no such object, and so it is not there."""

    def refused(_bucket: str, *, prefix: str) -> object:
        raise RequestRefused(f"{prefix}: invalid name")

    monkeypatch.setattr(objects, "list", refused)
    assert await listed(REF, objects) is None
