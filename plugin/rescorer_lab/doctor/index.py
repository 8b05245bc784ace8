"""One index: that it is there, its profile, the fields, pipeline and vectors that the profile names, its documents."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rescorer import config, profile, templates
from rescorer.config import AUTO, RescoreSettings
from rescorer.errors import InvalidProfile
from rescorer.profile import Hybrid, Profile
from rescorer_lab.connect import FORBIDDEN
from rescorer_lab.doctor.engine import There
from rescorer_lab.doctor.findings import Finding, ok, unknown, wrong
from rescorer_lab.doctor.sidecar import Served

NOT_FOUND = 404
DEFAULT_MOST_HITS = 10_000
"""Both engines' own ``index.max_result_window``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index whose profile can be used. settings: None where this user may not read them."""

    name: str
    profile: Profile
    mappings: Mapping[str, Any]
    settings: Mapping[str, Any] | None

    @property
    def rescore(self) -> RescoreSettings:
        """The settings of a search that says nothing itself."""
        return config.merged(self.profile.rescore)


def examined(
    client: Any, there: There, name: str | None, served: Served | None
) -> Generator[Finding, None, Index | None]:
    """The findings; the index where a search of it can be tried."""
    found = name or (yield from _only_one(client))
    if found is None:
        return None
    answer = client.transport.perform_request("GET", f"/{quote(found, safe=',*')}/_mapping", params={"ignore": 404})
    bodies = {key: body for key, body in answer.items() if isinstance(body, Mapping) and "mappings" in body}
    if not bodies:
        yield wrong("index", f"no index is called {found}", "look: GET /_cat/indices; or name another with --index")
        return None
    yield from _documents(client, found)
    index = yield from _profiled(client, found, bodies)
    if index is None:
        return None
    yield from _fields(index)
    yield from _model(index, served)
    if index.profile.hybrid is not None:
        yield _pipeline(client, there, index, index.profile.hybrid)
        yield _vectors(index, index.profile.hybrid, served)
    return index


def _only_one(client: Any) -> Generator[Finding, None, str | None]:
    """The one index that has a profile, where nobody names one."""
    answer = client.transport.perform_request(
        "GET", "/_mapping", params={"filter_path": "*.mappings._meta.rescorer", "expand_wildcards": "open"}
    )
    names = sorted(answer, key=lambda name: (name.startswith("."), name)) if isinstance(answer, Mapping) else []
    if len(names) == 1:
        return str(names[0])
    says = f"{len(names)} have a profile ({', '.join(names[:3])}, …)" if names else "none has a profile"
    yield unknown("index", says, "name one with --index")
    return None


def _documents(client: Any, name: str) -> Iterator[Finding]:
    answer = client.transport.perform_request("GET", f"/{quote(name, safe=',*')}/_count", params={"ignore": [400, 404]})
    count = answer.get("count", 0) if isinstance(answer, Mapping) else 0
    if count:
        yield ok("index", f"{name}, {count:,} documents")
    else:
        yield wrong("index", f"{name} holds no documents", "index some")


def _profiled(
    client: Any, name: str, bodies: Mapping[str, Mapping[str, Any]]
) -> Generator[Finding, None, Index | None]:
    said = {key: body["mappings"].get("_meta", {}).get("rescorer") for key, body in bodies.items()}
    metas = {key: meta for key, meta in said.items() if meta is not None}
    if not metas:
        mend = f"put one into its template ({profile.PATH}; see docs/templates.md), or ask in each request"
        yield unknown("profile", f"{name} has none, so its searches pass through", mend)
        return None
    try:
        read = {key: profile.read(meta, f"{key}: {profile.PATH}") for key, meta in metas.items()}
    except InvalidProfile as error:
        yield wrong("profile", str(error), "mend it in the index template, and in this index: PUT INDEX/_mapping")
        return None
    first, *rest = read
    differing = [key for key in rest if read[key] != read[first]] + [key for key in said if key not in metas]
    if differing:
        mend = "searches of both are not rescored unless they say document_fields; give them the same profile"
        yield wrong("profile", f"{first} and {differing[0]} have different profiles", mend)
        return None
    settings = _settings(client, first)
    index = Index(name=name, profile=read[first], mappings=bodies[first]["mappings"], settings=settings)
    yield _window(index)
    return index


def _settings(client: Any, name: str) -> Mapping[str, Any] | None:
    path = f"/{quote(name, safe='')}/_settings"
    answer = client.transport.perform_request("GET", path, params={"flat_settings": "true", "ignore": FORBIDDEN})
    found: Any = next(iter(answer.values()), None)
    return found["settings"] if isinstance(found, Mapping) and "settings" in found else None


def _window(index: Index) -> Finding:
    most = int((index.settings or {}).get("index.max_result_window", DEFAULT_MOST_HITS))
    rescore = index.rescore
    if rescore.window_size > most:
        says = f"window_size {rescore.window_size} is more than the index's max_result_window {most}"
        return wrong("profile", says, f"set window_size to {most} or less; until then searches fall back")
    if not rescore.enabled:
        return unknown("profile", "it switches rescoring off (enabled: false)", "set enabled to true when you want it")
    if not rescore.document_fields:
        return unknown("profile", "it names no document_fields", "name them there, or in each request")
    how = f"window {rescore.window_size}, {rescore.score_mode}, budget {rescore.budget_ms:,.0f} ms"
    return ok("profile", f"valid: {how}")


def _fields(index: Index) -> Iterator[Finding]:
    errors = profile.check_fields(index.profile, index.mappings)
    names = [entry.field for entry in index.rescore.document_fields]
    if errors:
        mend = "correct the profile, or map the field"
        yield wrong("fields", str(errors[0]) + (f" (and {len(errors) - 1} more)" if errors[1:] else ""), mend)
    elif names:
        yield ok("fields", f"{', '.join(names)}: in the mapping")


def _model(index: Index, served: Served | None) -> Iterator[Finding]:
    rescore = index.rescore
    plain = "" if rescore.model == AUTO else rescore.model
    for name in (plain, *rescore.models, *(stage.model for stage in rescore.cascade)):
        if served is not None and name and served.cross_encoder(name) is None:
            yield wrong("profile", f"its model {name!r} is not served", f"name one of: {served.names()}")


def _pipeline(client: Any, there: There, index: Index, form: Hybrid) -> Finding:
    """Whether hybrid queries are fused, and by whom."""
    if form.fusion != "engine":
        return ok("fusion", f"by the client ({form.fusion})")
    if there.engine == "elasticsearch":
        if form.search_pipeline:
            return wrong("fusion", f"{form.search_pipeline!r} {templates.NO_PIPELINES}")
        return ok("fusion", "by the engine: the scores of query and knn are added")
    default = str((index.settings or {}).get("index.search.default_pipeline", ""))
    name = form.search_pipeline or ("" if default == "_none" else default)
    if not name and index.settings is None:
        return unknown("fusion", "by the index's default search pipeline, if it has one: this user may not ask")
    if not name:
        mend = 'name one in hybrid.search_pipeline, or let the client fuse: "fusion": "rrf"'
        return wrong("fusion", "no search pipeline fuses the hybrid query", mend)
    path = f"/_search/pipeline/{quote(name, safe='')}"
    answer = client.transport.perform_request("GET", path, params={"ignore": [FORBIDDEN, NOT_FOUND]})
    if isinstance(answer, Mapping) and name in answer:
        return ok("fusion", f"by search pipeline {name}")
    if isinstance(answer, Mapping) and answer.get("status") == FORBIDDEN:
        return unknown("fusion", f"by search pipeline {name}, if it is there: this user may not ask")
    return wrong(
        "fusion", f"search pipeline {name} is missing", f"rescorer templates apply --url {there.address.shown}"
    )


def _vectors(index: Index, form: Hybrid, served: Served | None) -> Finding:
    """Whether the vector field's dimension is the embedder's."""
    if served is None:
        return unknown("vectors", "can't be compared with the embedder's without the sidecar")
    embedder, length = served.embedder(form.model), _dimension(index.mappings, form.vector_field)
    if embedder is None:
        says = f"embedder {form.model!r} is not served" if form.model else "no embedder is served"
        return unknown(
            "vectors", f"{says}, so hybrid_search answers with BM25 alone", "start the sidecar with --embedder"
        )
    name = f"{form.vector_field} has {length} values, {embedder.model.name} makes {embedder.dimension}"
    if length is None:
        return unknown("vectors", f"{form.vector_field} has no dimension yet")
    if length != embedder.dimension:
        return wrong(
            "vectors", name, "serve the embedder that the documents were embedded with, or make the index anew"
        )
    return ok("vectors", name)


def _dimension(mappings: Mapping[str, Any], name: str) -> int | None:
    node: Any = mappings
    for step in name.split("."):
        node = (node.get("properties") or {}).get(step) if isinstance(node, Mapping) else None
    found = (node.get("dimension") or node.get("dims")) if isinstance(node, Mapping) else None
    return found if isinstance(found, int) else None
