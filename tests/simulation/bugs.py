"""Bugs that are planted into copies of the handlers, one at a time: the simulation has to find each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streams.steps import Step
from tests.simulation.handlers import Handlers, planted


@dataclass(frozen=True, slots=True)
class Bug:
    """What is wrong, and where: per module of ``streams`` a text and what takes its place.

    ``focus`` makes runs likelier in which it shows; the checks are the same.
    """

    wrong: str
    replacements: dict[str, tuple[str, str]]
    focus: dict[str, Any] = field(default_factory=dict)

    def handlers(self, name: str) -> Handlers:
        """The handlers with this bug."""
        return planted(name, self.replacements)


ONE_KEY: dict[str, Any] = {"keys": 1, "stall": 0.3}
FEW: dict[str, Any] = ONE_KEY | {"pictures": 1}
CALM: dict[str, Any] = FEW | {"operations": 10, "deletes": 0.45, "lost_vectors": 0.0, "disturbance": 0.0, "haste": 0.0}
"""One key that comes and goes, each time when all workers wait or stall."""
TWO_KEYS: dict[str, Any] = {"keys": 2, "stall": 0.3, "operations": 8}
"""A reference that should not be there is found out by the index side, unless another key has the same bytes."""

BUGS: dict[str, Bug] = {
    "row_before_vector": Bug(
        "the row of an unreferenced content is deleted before its vector",
        {
            "converge_content": (
                """    with metrics.stage("vector"):
        await ports.vectors.delete([content.vector_id])
    await ports.reached(Step.VECTOR_DELETED)
    async with ports.catalog.transaction() as tx:
        row = await tx.lock_content(content.id)
        if row is not None and row.state is ContentState.DELETING and row.vector_id == content.vector_id:
            await tx.delete_content(content.id)
""",
                """    async with ports.catalog.transaction() as tx:
        row = await tx.lock_content(content.id)
        if row is not None and row.state is ContentState.DELETING and row.vector_id == content.vector_id:
            await tx.delete_content(content.id)
    await ports.reached(Step.VECTOR_DELETED)
    await ports.vectors.delete([content.vector_id])
""",
            )
        },
        CALM | {"stall_at": Step.VECTOR_DELETED, "crashes": 6},
    ),
    "deleting_ignored": Bug(
        "a reference is added to a content that is being deleted, which stays so",
        {
            "converge_object": (
                "if content_id == new and content.state is ContentState.DELETING:",
                "if False:",
            )
        },
    ),
    "no_second_head": Bug(
        "the object is not looked at again while its row is locked",
        {"converge_object": ("if await ports.objects.head(ref) != look.state:", "if False:")},
        TWO_KEYS | {"stall_at": Step.OBJECT_READ},
    ),
    "vector_id_reused": Bug(
        "a content that comes back keeps its vector id",
        {
            "ports": (
                "            vector_id=self.vector_id(),\n            retired=(*content.retired, content.vector_id),\n",
                "",
            )
        },
        CALM | {"stall_at": Step.DELETING_COMMITTED},
    ),
    "old_vector_id_forgotten": Bug(
        "a content that comes back forgets the vector that was to be deleted",
        {"ports": ("            retired=(*content.retired, content.vector_id),\n", "")},
        CALM | {"stall_at": Step.DELETING_COMMITTED, "crashes": 6},
    ),
    "no_dirty_mark": Bug(
        "a changed content is not put on the to-do list with the change",
        {"converge_object": ("await tx.save_content(ports.dirty(content, now))", "await tx.save_content(content)")},
    ),
    "no_fence": Bug(
        "a vector is recorded as indexed though the content has another vector id by now",
        {
            "converge_content": (
                """    row = await tx.lock_content(item.content.id)
    if row is None or row.state is not ContentState.PENDING or row.vector_id != item.content.vector_id:
""",
                """    row = await tx.lock_content(item.content.id)
    if row is None or row.state is not ContentState.PENDING:
""",
            )
        },
        CALM | {"stall_at": Step.CONTENT_EMBEDDED},
    ),
    "removal_not_fenced": Bug(
        "the row is deleted after its vector, though the content was born again in between",
        {
            "converge_content": (
                "        if row is not None and row.state is ContentState.DELETING and row.vector_id == content.vector_id:\n"
                "            await tx.delete_content(content.id)",
                "        if row is not None:\n            await tx.delete_content(content.id)",
            )
        },
        CALM | {"stall_at": Step.VECTOR_DELETED},
    ),
    "gone_unlocked": Bug(
        "an object that is in neither bucket nor catalog is taken for settled without locking its row",
        {
            "converge_object": (
                "    look = await _look(ref, seen, known, ports)\n",
                "    if seen is None and known is None:\n        return Change(ObjectOutcome.ABSENT)\n"
                "    look = await _look(ref, seen, known, ports)\n",
            )
        },
        TWO_KEYS | {"stall_at": Step.CONTENT_LOCKED, "pictures": 1},
    ),
    "unchanged_unlocked": Bug(
        "an object that looks like its row is taken for settled without locking the row",
        {
            "converge_object": (
                "    return bool(rows) and _agrees(rows[0], seen, ports)",
                "    return True",
            )
        },
        TWO_KEYS | {"stall_at": Step.CONTENT_LOCKED, "pictures": 2},
    ),
    "cleared_before_published": Bug(
        "the dirty mark is cleared before the images are published",
        {
            "converge_content": (
                '    with metrics.stage("publish"):\n        await _publish_references(content.id, ports)\n',
                "    await ports.catalog.clear_dirty(content.id, version=content.version, vector_id=content.vector_id)\n"
                '    with metrics.stage("publish"):\n        await _publish_references(content.id, ports)\n',
            )
        },
        FEW | {"operations": 8, "crashes": 6, "stall_at": Step.IMAGE_SENT},
    ),
    "cleared_whatever_version": Bug(
        "the dirty mark is cleared though the content has changed since it was read",
        {
            "converge_content": (
                "clear_dirty(content.id, version=content.version, vector_id",
                "clear_dirty(content.id, version=(await ports.catalog.contents([content.id])).get(content.id, content).version, vector_id",
            )
        },
        CALM | {"stall_at": Step.INDEXED_COMMITTED, "losses": 4},
    ),
    "stale_vector_kept": Bug(
        "a worker that was overtaken leaves its vector behind",
        {"converge_content": ("    if stale:\n", "    if False:\n")},
        CALM | {"stall_at": Step.CONTENT_EMBEDDED},
    ),
    "publication_not_marked": Bug(
        "a changed image is not put on the to-do list of the publisher",
        {"converge_object": (", publish_due=ports.first_resend(now))", ")")},
        FEW | {"operations": 8, "crashes": 6, "stall_at": Step.OBJECT_COMMITTED},
    ),
    "version_sent_twice": Bug(
        "a snapshot is sent again with the version of another one",
        {"publish": ("    image = replace(image, version=next_version(image, ports.clock.now()))\n", "")},
    ),
    "sent_unmarked": Bug(
        "a snapshot is sent of which the row does not say that it is to be sent",
        {
            "publish": (
                "            marked = [image for image in images if await _mark(tx, image, ports)]\n",
                "            marked = []\n",
            )
        },
        FEW | {"operations": 8, "lost_vectors": 0.5, "crashes": 6, "stall_at": Step.IMAGE_SENT},
    ),
    "published_unlocked": Bug(
        "snapshots are sent without holding the image's row",
        {
            "publish": (
                "        async with ports.catalog.transaction() as tx:\n            images = await tx.lock_images(chunk)\n            marked",
                "        async with ports.catalog.transaction() as tx:\n"
                "            images = [row for row in ports.catalog.image_rows.values() if row.id in chunk]\n            marked",
            )
        },
    ),
    "decided_unlocked": Bug(
        "whether a content is still needed is decided without locking its row",
        {
            "converge_content": (
                "        content = await tx.lock_content(content_id)\n        await ports.reached(Step.CONTENT_LOCKED)\n",
                "        content = await tx.content(content_id)\n        await ports.reached(Step.CONTENT_LOCKED)\n",
            )
        },
        FEW,
    ),
    "referenced_unlocked": Bug(
        "a reference is added to a content without locking its row",
        {
            "converge_object": (
                "await tx.lock_or_create_content(fresh)",
                "(await tx.content(content_id)) or await tx.lock_or_create_content(fresh)",
            )
        },
    ),
    "digest_not_checked": Bug(
        "whatever the object holds by now is embedded in the content's name",
        {"converge_content": (" or digest.sha256 != content.sha256:", ":")},
        ONE_KEY | {"stall_at": Step.ATTEMPT_COMMITTED},
    ),
    "left_content_forgotten": Bug(
        "the content that an image leaves is not marked",
        {
            "converge_object": (
                "for content_id in (image.content_id, new) if content_id is not None",
                "for content_id in ((new,) if new else (image.content_id,)) if content_id is not None",
            )
        },
    ),
    "no_sweep_of_contents": Bug(
        "the sweep takes up images only",
        {
            "sweep": (
                "    contents = await ports.catalog.due_contents(now, limit=ports.sweep.batch_size)\n",
                "    contents = (await ports.catalog.due_contents(now, limit=ports.sweep.batch_size))[:0]\n",
            )
        },
    ),
    "deleting_carries": Bug(
        "a content that is being deleted counts as carrying its vector",
        {
            "converge_content": (
                "not await tx.vector_is_carried(item.content.vector_id)",
                "getattr(await tx.content(item.content.id), 'vector_id', None) != item.content.vector_id",
            )
        },
        CALM | {"stall_at": None, "workers": 6},
    ),
}
