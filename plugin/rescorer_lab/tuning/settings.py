"""What is tuned: the settings of one way of searching, what of a profile they are, and the grid that is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

FusionKind = Literal["", "min_max", "rrf"]
WINDOWS = (5, 10, 20, 30, 50, 75, 100, 150, 200)
WEIGHTS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 10))
RRF_WEIGHTS = (0.3, 0.5, 0.7)
RANK_CONSTANTS = (20, 60)
RESCORE_WEIGHTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
KEEPS = (5, 10, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStage:
    """``bm25`` or ``knn`` alone, or ``hybrid`` with its fusion and the weight of the BM25 half; kNN has the rest."""

    name: Literal["bm25", "knn", "hybrid"]
    fusion: FusionKind = ""
    weight: float = 0.0
    rank_constant: int = 60

    def __str__(self) -> str:
        if self.name != "hybrid":
            return self.name
        constant = f" {self.rank_constant}" if self.fusion == "rrf" else ""
        return f"hybrid {self.fusion}{constant} {self.weight:g}/{1 - self.weight:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One way of searching. window 0: not rescored. weight 0: ``replace``; else ``rescore_query_weight`` of ``total``.

    cascade: (model, keep): ``model`` is the small one over the window, this one scores its best ``keep`` again.
    """

    first_stage: FirstStage
    window: int = 0
    weight: float = 0.0
    model: str = ""
    cascade: tuple[str, int] | None = None

    def __str__(self) -> str:
        if not self.window:
            return str(self.first_stage)
        how = f"total × {self.weight:g}" if self.weight else "replace"
        model = f", {self.model}" if self.model else ""
        more = f" → {self.cascade[0]} over {self.cascade[1]}" if self.cascade else ""
        return f"{self.first_stage}, window {self.window}, {how}{model}{more}"

    @property
    def rescore(self) -> dict[str, Any]:
        """The profile's keys beside ``hybrid``."""
        if not self.window:
            return {"enabled": False}
        found: dict[str, Any] = {"window_size": self.window}
        if self.cascade:
            model, keep = self.cascade
            found["cascade"] = [{"model": self.model, "keep": keep}, {"model": model}]
        elif self.model:
            found["model"] = self.model
        return found | ({"score_mode": "total", "rescore_query_weight": self.weight} if self.weight else {})

    @property
    def hybrid(self) -> dict[str, Any]:
        """The profile's keys under ``hybrid`` that say how the client fuses; no search pipeline stands beside them."""
        if self.first_stage.name != "hybrid":
            return {}
        weight = self.first_stage.weight
        found: dict[str, Any] = {"fusion": self.first_stage.fusion, "weights": [weight, round(1 - weight, 3)]}
        return found | ({"rank_constant": self.first_stage.rank_constant} if self.first_stage.fusion == "rrf" else {})


def in_profile(profile: Mapping[str, Any], settings: Settings, depth: int) -> dict[str, Any]:
    """A profile as JSON with these settings in place of its own; ``depth`` is that of the lists they come from."""
    found = {key: value for key, value in profile.items() if key not in _TUNED} | settings.rescore
    if settings.hybrid:
        form = {key: value for key, value in profile["hybrid"].items() if key not in _TUNED_HYBRID}
        found["hybrid"] = form | settings.hybrid | {"k": depth}
    return found


_TUNED = {"window_size", "score_mode", "query_weight", "rescore_query_weight", "model", "models", "cascade", "enabled"}
_TUNED_HYBRID = {"fusion", "weights", "rank_constant", "search_pipeline", "k"}


def first_stages(*, has_vectors: bool) -> list[FirstStage]:
    """Every first stage of the grid."""
    if not has_vectors:
        return [FirstStage(name="bm25")]
    min_max = [FirstStage(name="hybrid", fusion="min_max", weight=weight) for weight in WEIGHTS]
    rrf = [
        FirstStage(name="hybrid", fusion="rrf", weight=weight, rank_constant=constant)
        for constant, weight in product(RANK_CONSTANTS, RRF_WEIGHTS)
    ]
    return [FirstStage(name="bm25"), FirstStage(name="knn"), *min_max, *rrf]


def grid(first_stage: FirstStage, models: Sequence[str], depth: int) -> Iterator[Settings]:
    """Every way of searching with this first stage that is looked at; windows no deeper than what was retrieved."""
    yield Settings(first_stage=first_stage)
    windows = [window for window in WINDOWS if window <= depth]
    for window, model, weight in product(windows, models, (0.0, *RESCORE_WEIGHTS)):
        yield Settings(first_stage=first_stage, window=window, weight=weight, model=model)
    for window, small, large, keep in product(windows, models, models, KEEPS):
        if small != large and keep < window:
            yield Settings(first_stage=first_stage, window=window, model=small, cascade=(large, keep))
