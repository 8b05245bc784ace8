"""Loading a version of a model beside those that serve, without holding up the event loop."""

from __future__ import annotations

from collections.abc import Callable

from rescorer_sidecar.background import in_daemon
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Kind
from rescorer_sidecar.memory import Budget
from rescorer_sidecar.models import Model
from rescorer_sidecar.registry import Registry, Served

Load = Callable[[str, Kind, Settings, Budget], Model]


async def load_beside(load: Load, source: str, old: Served, registry: Registry, settings: Settings) -> Model:
    """A model of the kind of ``old``, warm, in the memory that the loaded ones leave; ConfigError says what it lacks.

    Nobody serves it yet: whoever asked puts it into the registry, or closes its backend. Cancelled, it is closed.
    """
    budget = Budget(settings.memory_mb * 1_000_000)
    budget.holds(registry.memory_bytes)
    return await in_daemon(
        lambda: load(source, old.model.card.kind, settings, budget),
        unwanted=lambda model: model.backend.close(),
    )
