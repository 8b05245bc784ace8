"""What a model was measured to cost on this machine, in a small file beside the model: ``rescorer models bench`` writes
it, and whoever must choose a model for a budget reads it.

## Decisions
2026-11: one file a model with an entry for each machine, backend, device, precision and digest. A folder on a shared
disk is read by machines of several kinds, and a cost from elsewhere would choose wrongly without a word.
2026-11: a straight line through the times of requests of growing length. Attention grows with the square of a length,
but no pair is longer than the limit, and a choice between models needs no more than their proportions.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescorer_sidecar.config import cache_folder
from rescorer_sidecar.domain import ModelCard
from rescorer_sidecar.errors import ConfigError

logger = logging.getLogger(__name__)

FILE = "rescorer_costs.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """One measurement. A lone request takes ``fixed_ms`` and ``us_per_token`` microseconds a token of its pairs,
    with all workers; ``load_ms`` pass from the files to a warm model.
    """

    digest: str
    machine: str
    backend: str
    device: str
    precision: str
    fixed_ms: float
    us_per_token: float
    load_ms: float

    def __post_init__(self) -> None:
        for entry in ("digest", "machine", "backend", "device", "precision"):
            if not isinstance(getattr(self, entry), str):
                raise TypeError(f"{entry} must be text, got {getattr(self, entry)!r}")
        for entry in ("fixed_ms", "us_per_token", "load_ms"):
            value = getattr(self, entry)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"{entry} must be a number of 0 or more, got {value!r}")

    def request_ms(self, tokens: int) -> float:
        """Milliseconds that a lone request of so many tokens is expected to take."""
        return self.fixed_ms + tokens * self.us_per_token / 1000


def read(folder: Path, card: ModelCard) -> Costs | None:
    """What was measured here for this very model, as it is loaded now; None where nothing was.

    A file that can't be understood is told in the log and counts as none: it can be measured again.
    """
    for path in (folder / FILE, _elsewhere(card.digest)):
        for entry in reversed(_entries(path)):  # the newest is the last
            if _identity(entry) == (card.digest, machine(), card.backend, card.device, card.precision):
                return entry
    return None


def write(folder: Path, costs: Costs) -> Path:
    """Keep a measurement beside the model, or in the cache folder where that is read-only; returns the file.

    It takes the place of an earlier one of the same model, machine, backend, device and precision. ConfigError where
    neither folder can be written.
    """
    refused: OSError | None = None
    for path in (folder / FILE, _elsewhere(costs.digest)):
        kept = [entry for entry in _entries(path) if _identity(entry) != _identity(costs)]
        text = json.dumps({"costs": [dataclasses.asdict(entry) for entry in [*kept, costs]]}, indent=2) + "\n"
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            refused = error
        else:
            return path
    raise ConfigError(f"{_elsewhere(costs.digest)} can't be written: {refused}; name another folder in RESCORER_CACHE")


def machine() -> str:
    """This machine in words: its processor and the cores that this process may use."""
    count = cores()
    return f"{_processor() or platform.machine()}, {count} core{'s' if count > 1 else ''}"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _elsewhere(digest: str) -> Path:
    return cache_folder() / "costs" / f"{digest}.json"


def _identity(entry: Costs) -> tuple[str, str, str, str, str]:
    return entry.digest, entry.machine, entry.backend, entry.device, entry.precision


def _entries(path: Path) -> list[Costs]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return [_entry(entry) for entry in stored["costs"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s holds no costs (%s); measure again with rescorer models bench", path, error)
        return []


def _entry(stored: Mapping[str, Any]) -> Costs:
    known = {entry.name for entry in dataclasses.fields(Costs)}
    return Costs(**{name: value for name, value in stored.items() if name in known})
