"""The engine's templates and pipelines as JSON files: read, check, compare with a live engine, apply.

Each file is what ``PUT`` takes as it is; its folder says where it goes and its name what it is called. Functions that
talk to an engine take the official client and nothing else of it than ``transport.perform_request``.

## Decisions
2026-11-21: files and engine are compared as flat ``path → value`` lists, in the form that the engine gives back
(settings under ``index.``, values as text), because anything less finds differences that are none, and then no
``apply`` would ever be done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal

from rescorer import profile
from rescorer.errors import InvalidProfile, InvalidSetting

Kind = Literal["component_template", "search_pipeline", "index_template"]

FOLDERS: Mapping[str, Kind] = {
    "component_templates": "component_template",
    "search_pipelines": "search_pipeline",
    "index_templates": "index_template",
}
"""Folder → kind, in the order in which an engine can take them."""

ENDPOINTS: Mapping[Kind, str] = {
    "component_template": "/_component_template/",
    "search_pipeline": "/_search/pipeline/",
    "index_template": "/_index_template/",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One JSON file. ``source`` is its path below the folder it was read from."""

    kind: Kind
    name: str
    source: str
    body: Mapping[str, Any]

    @property
    def endpoint(self) -> str:
        """Where ``PUT`` sends it."""
        return ENDPOINTS[self.kind] + self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One value that differs: ``have`` on the engine, ``want`` in the file; ``None`` where there is none."""

    path: str
    have: str | None
    want: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How one template on the engine differs from its file."""

    template: Template
    is_new: bool
    changes: tuple[Change, ...]


def shipped(engine: str = "opensearch") -> list[Template]:
    """The templates that come with rescorer, in the order in which an engine can take them."""
    return read(resources.files("rescorer") / "index_templates" / engine)


def read(folder: Traversable) -> list[Template]:
    """Every template of a folder with the sub-folders of :data:`FOLDERS`; InvalidSetting names a broken file."""
    found = []
    for place, kind in FOLDERS.items():
        entries = sorted((folder / place).iterdir(), key=lambda entry: entry.name) if (folder / place).is_dir() else []
        for entry in entries:
            if entry.name.endswith(".json"):
                source = f"{place}/{entry.name}"
                body = _parsed(entry.read_text(encoding="utf-8"), source)
                found.append(Template(kind=kind, name=entry.name.removesuffix(".json"), source=source, body=body))
    if not found:
        raise InvalidSetting(str(folder), list(FOLDERS), "are the sub-folders looked for, and they hold no JSON file")
    return found


def check(templates: Sequence[Template]) -> list[InvalidProfile]:
    """What is wrong with the profiles, composed as the engine would: keys, types, fields that no mapping holds."""
    components = {entry.name: entry.body for entry in templates if entry.kind == "component_template"}
    pipelines = {entry.name for entry in templates if entry.kind == "search_pipeline"}
    wrong = []
    for template in templates:
        if template.kind == "index_template":
            parts = [components[name] for name in template.body.get("composed_of", ()) if name in components]
            wrong += _check_composed([*parts, template.body], template.source, pipelines)
    return wrong


def diff(client: Any, templates: Sequence[Template]) -> list[Difference]:
    """How the engine differs from the files; a template that is the same there is left out."""
    found = []
    for template in templates:
        have = _fetched(client, template)
        changes = tuple(_changes(_flat(have or {}), _flat(template.body)))
        if have is None or changes:
            found.append(Difference(template=template, is_new=have is None, changes=changes))
    return found


def apply(client: Any, templates: Sequence[Template]) -> list[Difference]:
    """Send what differs, nothing else, and return it. Raises the first InvalidProfile before anything is sent."""
    wrong = check(templates)
    if wrong:
        raise wrong[0]
    differences = diff(client, templates)
    for difference in differences:
        template = difference.template
        client.transport.perform_request("PUT", template.endpoint, body=dict(template.body))
    return differences


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidSetting(f"{source}, line {error.lineno}", error.msg, "is what JSON says; mend the file") from error
    if not isinstance(body, dict):
        raise InvalidSetting(source, body, "must be an object")
    return body


def _check_composed(bodies: Sequence[Mapping[str, Any]], source: str, pipelines: set[str]) -> list[InvalidProfile]:
    mappings: dict[str, Any] = {}
    for body in bodies:
        _merge(mappings, body.get("template", {}).get("mappings", {}))
    meta = mappings.get("_meta", {}).get("rescorer")
    if meta is None:
        return []
    path = f"{source}: {profile.PATH}"
    try:
        found = profile.read(meta, path)
    except InvalidProfile as error:
        return [error]
    wrong = profile.check_fields(found, mappings, path)
    pipeline = found.hybrid.search_pipeline if found.hybrid else ""
    if pipeline and pipeline not in pipelines:
        mend = f"is no search pipeline of this folder; it holds: {', '.join(sorted(pipelines)) or 'none'}"
        wrong.append(InvalidProfile(f"{path}.hybrid.search_pipeline", pipeline, mend))
    return wrong


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = json.loads(json.dumps(value))


def _fetched(client: Any, template: Template) -> Mapping[str, Any] | None:
    """What the engine holds under this name, in the shape of the file."""
    answer = client.transport.perform_request("GET", template.endpoint, params={"ignore": 404})
    if template.kind == "search_pipeline":
        return answer.get(template.name) if isinstance(answer, Mapping) else None
    for entry in answer.get(f"{template.kind}s", ()) if isinstance(answer, Mapping) else ():
        if entry["name"] == template.name:
            body: Mapping[str, Any] = entry[template.kind]
            return body
    return None


def _changes(have: Mapping[str, str], want: Mapping[str, str]) -> Iterator[Change]:
    for path in sorted(have.keys() | want.keys()):
        if have.get(path) != want.get(path):
            yield Change(path=path, have=have.get(path), want=want.get(path))


def _flat(body: Mapping[str, Any]) -> dict[str, str]:
    """Leaves by dotted path; settings under ``index.`` and every value as the engine writes it, numbers as text."""
    found = dict(_leaves(body, ""))
    settings = "template.settings."
    return {
        path
        if not path.startswith(settings) or path.startswith(f"{settings}index.")
        else path.replace(settings, f"{settings}index.", 1): value
        for path, value in found.items()
    }


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{place}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)
