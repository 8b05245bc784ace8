"""What a tuning leaves behind: report and page, and the tuned profile as a template with its difference to be read."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rescorer import templates
from rescorer.domain import Engine
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import page, svg
from rescorer_lab.evaluation.page import Section
from rescorer_lab.tuning import tables
from rescorer_lab.tuning.story import Told

TEMPLATE = "rescorer-profile"


def described(told: Told, made: Mapping[str, Any]) -> dict[str, Any]:
    """The report: the choice, the front and every setting that was looked at."""
    return {
        "topics": {"tuning": told.halves[0], "reported_on": told.halves[1]},
        "pairs_scored": told.scored,
        "settings_derived": told.derived,
        "derived_s": told.derived_s,
        "costs_ms": asdict(told.spent),
        "chosen": _settings(told.chosen) | {"nDCG@10 of the others": told.other},
        "reports": [asdict(one) | {"settings": str(one.settings)} for one in told.reports],
        "front": [_settings(one) for one in told.front],
        "curve": {str(window): {"tuning": pair[0], "other": pair[1]} for window, pair in told.curve.items()},
        "gates": [asdict(one) for one in told.savings],
        "warnings": list(told.warnings),
        "made": made,
        "looked_at": [{"settings": str(one.settings), "nDCG@10": one.quality, "ms": one.ms} for one in told.candidates],
    }


def write_page(path: Path, told: Told, name: str, made: Mapping[str, Any]) -> Path:
    """The same as a page with plots; returns its absolute path."""
    return page.rendered(
        path,
        title=f"Settings for {name}",
        subtitle=f"chosen on {told.halves[0]} topics, reported on {told.halves[1]} others",
        warnings=told.warnings,
        sections=list(_sections(told)),
        made=json.dumps(made, indent=2, ensure_ascii=False),
    )


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The lines of a unified diff between two profiles."""
    have, want = (json.dumps(profile, indent=2, ensure_ascii=False).splitlines() for profile in (before, after))
    return list(difflib.unified_diff(have, want, "profile of the index", "tuned", lineterm=""))


def write_template(folder: Path, profile: Mapping[str, Any], engine: Engine) -> Path:
    """A component template with this profile, below ``folder`` as ``rescorer templates`` reads it. Raises LabError."""
    shipped = next(template for template in templates.shipped(engine) if template.name == TEMPLATE)
    body = json.loads(json.dumps(dict(shipped.body)))
    body["template"]["mappings"]["_meta"]["rescorer"] = dict(profile)
    path = folder / shipped.source
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise LabError(f"{path} can't be written: {error.strerror}", "name another folder with --out") from error
    return path


def _sections(told: Told) -> Iterator[Section]:
    shown = [svg.Point(name=str(one.settings), x=one.ms, y=one.quality) for one in told.front]
    yield Section(
        heading="Quality and time",
        says="Nothing that was looked at is better than these without taking longer.",
        plot=svg.scatter(shown, "front of quality and time", "ms", "nDCG@10", joined=True),
        table=page.grid(tables.front(told)),
    )
    yield Section(heading="On topics that nothing was chosen on", table=page.grid(tables.reports(told)))
    if len(told.curve) > 1:
        points = [svg.Point(name=str(window), x=window, y=pair[1]) for window, pair in told.curve.items()]
        yield Section(
            heading="How many candidates",
            says=tables.verdict(told),
            plot=svg.scatter(points, "quality by window", "window", "nDCG@10", joined=True),
            table=page.grid(tables.curve(told)),
        )
    if told.savings:
        yield Section(heading="What a gate would save", table=page.grid(tables.gates(told)))


def _settings(one: Any) -> dict[str, Any]:
    said = one.settings
    return {"settings": str(said), "profile": said.rescore, "hybrid": said.hybrid, "nDCG@10": one.quality, "ms": one.ms}
