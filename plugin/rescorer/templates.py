"""The engine's templates and pipelines as JSON files: read, check, compare with a live engine, apply.

Each file is what ``PUT`` takes as it is; its folder says where it goes and its name what it is called. Functions that
talk to an engine take opensearch-py's client and nothing else of it than ``transport.perform_request``, which sends
plain JSON and talks to OpenSearch and Elasticsearch alike.

## Decisions
2026-11-21: files and engine are compared as flat ``path → value`` lists, in the form that the engine gives back
(settings under ``index.`` and as text, an alias's routing twice), because anything less finds differences that are
none, and then no ``apply`` would ever be done. All but settings is compared with its type: an engine keeps ``"true"``
and ``true`` apart in a profile, and only one of them is right.
2026-11-25: what only one engine adds (when a template was made, the defaults of ``data_stream``) is no difference on
the other either, so that comparing needs not know the engine. Checking does where it is told: a search pipeline is
refused before Elasticsearch is asked. Rejected: leaving that to Elasticsearch, whose answer names no file and no mend.
2026-11-21: a component template that the folder lacks may stand on the engine already and is no error here. Then the
fields that a profile names are not checked, since they may be that component's. An engine refuses a name it lacks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal
from urllib.parse import quote

from rescorer import profile
from rescorer.domain import Engine
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


SETTINGS = "template.settings."
STREAM = "data_stream"
NO_PIPELINES = 'is a search pipeline, which Elasticsearch has not; let the client fuse: "fusion": "min_max" or "rrf"'
_ROUTING = re.compile(r"^(template\.aliases\.[^.]+)\.routing$")
_ADDED: Mapping[str, Any] = {
    "data_stream.timestamp_field.name": "@timestamp",
    "data_stream.hidden": False,
    "data_stream.allow_custom_routing": False,
}
"""What an engine writes into a template by itself; OpenSearch the first, Elasticsearch the others."""
_WHEN = re.compile(r"^(created|modified)_date(_millis)?$")
"""When a template was made or changed, as Elasticsearch adds it."""


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
        return ENDPOINTS[self.kind] + quote(self.name, safe="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One value that differs: ``have`` on the engine, ``want`` in the file; ``None`` where there is none.

    Values are JSON text; settings are plain text, as the engine shows them.
    """

    path: str
    have: str | None
    want: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How one template on the engine differs from its file."""

    template: Template
    is_new: bool
    changes: tuple[Change, ...]


def shipped(engine: Engine = "opensearch") -> list[Template]:
    """The templates that come with rescorer, in the order in which an engine can take them."""
    return read(shipped_folder(engine))


def shipped_folder(engine: Engine = "opensearch") -> Traversable:
    """Where the files that come with rescorer lie."""
    return resources.files("rescorer") / "index_templates" / engine


def read(folder: Traversable) -> list[Template]:
    """Every template of a folder with the sub-folders of :data:`FOLDERS`; InvalidSetting names a broken file.

    Broken is what an engine refuses: no UTF-8, no JSON, a key that stands twice in one object.
    """
    found = []
    for place, kind in FOLDERS.items():
        entries = sorted((folder / place).iterdir(), key=lambda entry: entry.name) if (folder / place).is_dir() else []
        for entry in entries:
            if entry.name.endswith(".json") and entry.is_file():
                source = f"{place}/{entry.name}"
                body = _parsed(entry.read_bytes(), source)
                found.append(Template(kind=kind, name=entry.name.removesuffix(".json"), source=source, body=body))
    if not found:
        mend = "are the sub-folders looked for, and none holds a JSON file; get them with: rescorer templates export"
        raise InvalidSetting(str(folder), list(FOLDERS), mend)
    return found


def check(templates: Sequence[Template], engine: Engine | None = None) -> list[InvalidProfile]:
    """What is wrong with the profiles, composed as the engine would: keys, types, fields that no mapping holds.

    Each error names the file that holds the profile and the JSON path in it. Where ``engine`` is given, what it does
    not have is wrong too.
    """
    wrong = [error for template in templates for error in _misshapen(template)]
    if engine == "elasticsearch":
        pipes = [entry for entry in templates if entry.kind == "search_pipeline"]
        wrong += [
            InvalidProfile(entry.source, entry.name, f"{NO_PIPELINES}, and take the file away") for entry in pipes
        ]
    if not wrong:
        pipelines = {entry.name for entry in templates if entry.kind == "search_pipeline"}
        for parts, is_whole in _compositions(templates):
            wrong += _check_composed(_Composed(parts, is_whole, engine), pipelines)
    return list({str(error): error for error in wrong}.values())


def diff(client: Any, templates: Sequence[Template]) -> list[Difference]:
    """How the engine differs from the files; a template that is the same there is left out."""
    found = []
    for template in templates:
        have = _fetched(client, template)
        changes = tuple(_changes(_flat(have or {}), _flat(template.body)))
        if have is None or changes:
            found.append(Difference(template=template, is_new=have is None, changes=changes))
    return found


def apply(client: Any, templates: Sequence[Template], engine: Engine | None = None) -> list[Difference]:
    """Send what differs, nothing else, and return it. Raises the first InvalidProfile before anything is sent."""
    wrong = check(templates, engine)
    if wrong:
        raise wrong[0]
    differences = diff(client, templates)
    for difference in differences:
        _send(client, difference.template)
    return differences


def _send(client: Any, template: Template) -> None:
    try:
        client.transport.perform_request("PUT", template.endpoint, body=dict(template.body))
    except Exception as error:
        error.add_note(template.source)  # whoever shows the error can say which file the engine refused
        raise


def has_pipeline(client: Any, name: str) -> bool:
    """Whether the engine holds a search pipeline of this name."""
    template = Template(kind="search_pipeline", name=name, source="", body={})
    return _fetched(client, template) is not None


def _parsed(raw: bytes, source: str) -> dict[str, Any]:
    try:
        body = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        raise InvalidSetting(f"{source}, line {error.lineno}", error.msg, "is what JSON says; mend the file") from error
    except (ValueError, RecursionError) as error:
        raise InvalidSetting(source, str(error), "is why it can't be read; mend the file") from error
    if not isinstance(body, dict):
        raise InvalidSetting(source, body, "must be an object")
    return body


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return found


def _misshapen(template: Template) -> Iterator[InvalidProfile]:
    """Parts of a template that must be objects for its profile to be found, and are none."""
    part: Any = template.body
    for path in ("template", "template.mappings", "template.mappings._meta"):
        part = part.get(path.rpartition(".")[2], {})
        if not isinstance(part, Mapping):
            yield InvalidProfile(f"{template.source}: {path}", part, "must be an object")
            return
    names = template.body.get("composed_of", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        yield InvalidProfile(f"{template.source}: composed_of", names, "must be a list of component template names")


def _compositions(templates: Sequence[Template]) -> Iterator[tuple[list[Template], bool]]:
    """Templates that make one mapping together, weakest first, and whether they are all of it.

    Component templates that no index template is composed of come last, each alone.
    """
    components = {entry.name: entry for entry in templates if entry.kind == "component_template"}
    alone = dict(components)
    for template in templates:
        if template.kind == "index_template":
            names = template.body.get("composed_of", [])
            parts = [components[name] for name in names if name in components]
            yield [*parts, template], len(parts) == len(names)
            alone = {name: entry for name, entry in alone.items() if name not in names}
    for entry in alone.values():
        yield [entry], False


@dataclass(frozen=True, slots=True)
class _Composed:
    """Templates that make one mapping together, weakest first; whether they are all of it; and for which engine."""

    parts: Sequence[Template]
    is_whole: bool
    engine: Engine | None

    def mappings(self) -> dict[str, Any]:
        """As the engine merges them."""
        found: dict[str, Any] = {}
        for part in self.parts:
            _merge(found, _mappings(part), is_stronger_first=self.engine == "elasticsearch")
        return found


def _check_composed(composed: _Composed, pipelines: set[str]) -> list[InvalidProfile]:
    """What is wrong with one composed profile. ``pipelines``: those of the folder."""
    holders = [part.source for part in composed.parts if "rescorer" in _mappings(part).get("_meta", {})]
    if not holders:
        return []
    mappings = composed.mappings()
    path = f"{holders[-1]}: template.{profile.PATH}"
    try:
        found = profile.read(mappings["_meta"]["rescorer"], path)
    except InvalidProfile as error:
        return [error]
    wrong = profile.check_fields(found, mappings, path) if composed.is_whole else []
    pipeline = found.hybrid.search_pipeline if found.hybrid else ""
    if pipeline and (composed.engine == "elasticsearch" or pipeline not in pipelines):
        held = ", ".join(sorted(pipelines)) or 'none; for Elasticsearch name a fusion instead, such as "min_max"'
        mend = f"is no search pipeline of this folder; it holds: {held}"
        mend = NO_PIPELINES if composed.engine == "elasticsearch" else mend
        wrong.append(InvalidProfile(f"{path}.hybrid.search_pipeline", pipeline, mend))
    return wrong


def _mappings(template: Template) -> Mapping[str, Any]:
    found: Mapping[str, Any] = template.body.get("template", {}).get("mappings", {})
    return found


def _merge(into: dict[str, Any], more: Mapping[str, Any], is_stronger_first: bool) -> None:
    """As the engines merge ``_meta``: objects key by key, lists joined.

    OpenSearch puts the weaker one's entries first in a joined list, Elasticsearch the stronger one's.
    """
    for key, value in more.items():
        have = into.get(key)
        if isinstance(value, Mapping) and isinstance(have, dict):
            _merge(have, value, is_stronger_first)
        elif isinstance(value, list) and isinstance(have, list):
            first, then = (_copied(value), have) if is_stronger_first else (have, _copied(value))
            into[key] = first + [entry for entry in then if entry not in first]
        else:
            into[key] = _copied(value)


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


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
    """Leaves by dotted path, in the form in which the engine gives them back."""
    found: dict[str, str] = {}
    for path, value in _leaves(body, ""):
        if path.startswith(SETTINGS):
            found |= _setting(path.removeprefix(SETTINGS).removeprefix("index."), value)
        elif _ROUTING.search(path):
            found |= {_ROUTING.sub(rf"\1.{kind}_routing", path): _json(value) for kind in ("index", "search")}
        elif path == "index_patterns" and isinstance(value, str):
            found[path] = _json([value])
        elif path == STREAM or path.startswith(f"{STREAM}."):
            found[STREAM] = _json({})
            found |= {} if value == {} or _ADDED.get(path, ...) == value else {path: _json(value)}
        elif not (_WHEN.match(path) or (path == "template.settings" and value == {})):
            found[path] = _json(value)
    return found


def _setting(path: str, value: Any) -> dict[str, str]:
    """A setting as the engine keeps it: every scalar as text; an empty object is no setting."""
    if isinstance(value, list):
        return {f"{SETTINGS}index.{path}": _json([_text(entry) for entry in value])}
    return {} if value == {} else {f"{SETTINGS}index.{path}": _text(value)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{place}]")
    elif path:
        yield path, value
