"""`twinlens models switch`: another model takes the place of the one in use, while pictures stay searchable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from imaging.model_spec import ModelSpec, built_in_specs, find_spec, load_spec
from ops.grants import share_milvus_privileges
from ops.hints import hint
from ops.progress import progress_bar
from schemas.collection import view_collections
from schemas.errors import RequestRefused
from schemas.model_switch import ModelSwitch, ServedModel, SwitchState
from schemas.settings import Settings
from streams.assembly import for_switch
from streams.models.compare import ModelComparison, compare_models
from streams.models.switch import ROUNDS, Switching
from streams.process.composition import worker_parts


@dataclass(frozen=True, slots=True)
class Switched:
    """How far a switch has come: ``missing`` contents could not be brought over."""

    model: str
    place: str
    in_use: bool
    missing: int = 0

    def in_words(self, data: Path) -> str:
        """What to do next; ``data``: the folder that hints name."""
        if not self.in_use:
            return (
                f"{self.missing:,} contents could not be brought over: index workers log each as "
                "`content_not_brought_over`, with the reason. The model of before is in use. Run the command again "
                "when they can be read; or with --leave-behind, and they are not found until they are."
            )
        return (
            f"{self.model} is in use. Set model.spec to {self.place} on every machine, and restart what runs there, "
            f"one after the other; then `{hint('models switch --finish', data)}` drops the old collection. Until then, "
            f"`{hint('models switch --rollback', data)}` goes back at once."
        )


@asynccontextmanager
async def switching(settings: Settings) -> AsyncIterator[Switching]:
    """The steps of a switch on the servers that the settings name."""
    async with worker_parts(settings) as parts:
        await parts.retry.run(parts.ports.catalog.check)
        yield Switching(for_switch(parts.ports), parts.retry, settings.objects.buckets)


async def run_switch(settings: Settings, model: str, *, rate: float, leave_behind: bool) -> Switched:
    """Switch to a model, or go on with that. Raises Outage and what the settings can."""
    old, new = load_spec(settings.model.spec), load_spec(model)
    missing = 0
    async with switching(settings) as steps:
        switch = await _begun(steps, old, new, settings, place_of(model))
        if switch.state is SwitchState.SWAPPED:
            await steps.swap()
        elif switch.state is SwitchState.BUILDING:
            missing = await _bring_over(steps, switch, rate)
            if missing and not leave_behind:
                return Switched(new.id, place_of(model), in_use=False, missing=missing)
            swapped = await steps.swap()
            if leave_behind:
                await steps.remind(swapped)
        else:
            raise RequestRefused(f"the switch is {switch.state}: go on with --rollback or --finish")
    return Switched(new.id, place_of(model), in_use=True, missing=missing)


async def run_rollback(settings: Settings) -> None:
    """Go back to the old model, and drop the other collection. Raises RequestRefused where there is none."""
    async with switching(settings) as steps:
        await steps.roll_back()


async def run_finish(settings: Settings) -> str:
    """Drop the old collection; the id of the model in use.

    Raises RequestRefused where it is the old one, or the settings name another model.
    """
    configured = load_spec(settings.model.spec)
    async with switching(settings) as steps:
        await steps.finish(configured)
    return configured.id


async def run_compare(settings: Settings, searches: int) -> ModelComparison:
    """How many searches have another first hit by the new model. Raises RequestRefused where no switch is on."""
    async with switching(settings) as steps:
        switch = await steps.retry.run(steps.ports.catalog.switch)
        if switch.old is None or switch.new is None:
            raise RequestRefused("no switch of models is on, so there are no two collections to compare")
        old, new = (_threshold(model, settings) for model in (switch.old, switch.new))
        ports = steps.ports
        return await compare_models(
            switch, (old, new), ports.catalog, ports.vectors, steps.retry, steps.buckets, searches
        )


def compared_in_words(found: ModelComparison) -> str:
    """What a comparison of the models has found."""
    if not found.searches:
        return "no picture is in both collections yet"
    return (
        f"{found.searches:,} searches by indexed pictures: {found.changed:,} change their first hit "
        f"({found.changed / found.searches:.1%}); of the {found.copies:,} whose first hit is a copy by one of the "
        f"models, {found.changed_copies:,}"
    )


def place_of(model: str) -> str:
    """Where other processes find a spec: its id, or the whole path of its file."""
    return model if model in built_in_specs() else str(Path(model).resolve())


def _threshold(model: ServedModel, settings: Settings) -> float:
    configured = load_spec(settings.model.spec)
    return (configured if configured.name == model.name else find_spec(model.name, model.spec)).copy_threshold


async def _begun(steps: Switching, old: ModelSpec, new: ModelSpec, settings: Settings, place: str) -> ModelSwitch:
    _try(new, settings)
    switch = await steps.begin(old, place_of(str(settings.model.spec)), new, place, settings.vectors.alias)
    if switch.old is not None and switch.new is not None:
        made = switch.new.collection
        for name in (made, *view_collections(made, settings.index.views)):
            share_milvus_privileges(settings.vectors, switch.old.collection, name)
    return switch


def _try(spec: ModelSpec, settings: Settings) -> None:
    """Raises ModelError for a model that doesn't load here: rather now than in every worker."""
    from imaging.embedding import OnnxEmbedder

    OnnxEmbedder(spec, threads=settings.model.threads or 1, providers=settings.model.providers)


async def _bring_over(steps: Switching, switch: ModelSwitch, rate: float) -> int:
    """Bring over what the new collection lacks, and compare it with the catalog, until nothing is missing.

    How much can't be brought over.
    """
    rounds = 0
    with progress_bar(remaining=True) as bars:
        while True:
            missing, moved = await _round(steps, switch, rate, bars)
            if missing == 0:
                missing = await _checked(steps, switch, bars)
                if missing == 0:
                    return 0
            rounds = 0 if moved else rounds + 1
            if rounds == ROUNDS:
                return missing


async def _round(steps: Switching, switch: ModelSwitch, rate: float, bars: Progress) -> tuple[int, int]:
    """One round; how many contents are missing, and how many were brought over."""
    total = await steps.count()
    bar = bars.add_task("bringing over", total=max(total, 1))
    missing = moved = 0
    async for done in steps.bring_over(switch, rate):
        missing, moved = done.missing, done.brought_over
        bars.update(bar, completed=done.contents - missing, total=max(total, done.contents))
    return missing, moved


async def _checked(steps: Switching, switch: ModelSwitch, bars: Progress) -> int:
    """How many contents are missing in the new collection."""
    bar = bars.add_task("comparing with the catalog", total=max(await steps.count(), 1))
    found = (0, 0)
    async for found in steps.check(switch):
        bars.update(bar, completed=found[0])
    return found[1]
