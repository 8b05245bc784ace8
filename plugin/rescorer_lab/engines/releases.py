"""The engine releases that can be assembled, by engine and version."""

from __future__ import annotations

from rescorer_lab.engines.elasticsearch import ELASTICSEARCH_8_19, ELASTICSEARCH_9_4
from rescorer_lab.engines.opensearch import OPENSEARCH_2_19, OPENSEARCH_3_6
from rescorer_lab.engines.release import Release
from rescorer_lab.errors import EngineError

RELEASES = (OPENSEARCH_3_6, OPENSEARCH_2_19, ELASTICSEARCH_9_4, ELASTICSEARCH_8_19)


def find(engine: str, version: str | None = None) -> Release:
    """The release of this engine and version, the first known one of the engine if no version is given."""
    of_engine = [release for release in RELEASES if release.engine == engine]
    if not of_engine:
        raise EngineError(
            f"engine {engine!r} is not known", f"known: {', '.join(dict.fromkeys(known.engine for known in RELEASES))}"
        )
    for release in of_engine:
        if version in (None, release.version):
            return release
    known = ", ".join(release.version for release in of_engine)
    raise EngineError(f"{engine} {version} can't be assembled here", f"known versions: {known}")
