"""Template folders for tests: the shipped ones as a copy, with one thing edited."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from rescorer.domain import Engine

FOLDERS = Path(__file__).resolve().parents[3] / "index_templates"
ENGINES: tuple[Engine, ...] = ("opensearch", "elasticsearch")
SHIPPED = FOLDERS / "opensearch"
PROFILE = "component_templates/rescorer-profile.json"
TEXT = "component_templates/rescorer-text.json"
VECTOR = "component_templates/rescorer-vector.json"
ANALYSIS = "component_templates/rescorer-analysis.json"
INDEX = "index_templates/rescorer.json"
WEIGHTS = "search_pipelines/rescorer-normalization.json"


def copied(target: Path, engine: Engine = "opensearch") -> Path:
    """A copy of an engine's shipped files."""
    shutil.copytree(FOLDERS / engine, target)
    return target


def edit(folder: Path, source: str, path: str, value: Any) -> None:
    """Set one value in one file; steps of the path are separated by spaces; ``...`` removes the key."""
    body = json.loads((folder / source).read_text())
    *steps, last = path.split()
    place = body
    for step in steps:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    (folder / source).write_text(json.dumps(body))


def edit_profile(folder: Path, path: str, value: Any) -> None:
    """Set one value of the profile."""
    edit(folder, PROFILE, f"template mappings _meta rescorer {path}", value)
