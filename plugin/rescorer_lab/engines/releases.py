"""The engine releases that can be assembled, each a description: artifacts by exact coordinate, what a node needs.

## Decisions
2026-11-21: ICU4J and its locale providers stand beside the engine's own jars. The engine builds every analyzer before
it makes its first index, the Thai one among them, and that one needs word breaks that only the JDK's optional
jdk.localedata module has. The JRE from PyPI comes without it; ICU4J gives the same through Java's provider interface.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from rescorer_lab.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A zip or jar on Maven Central: ``group:name:version``, its SHA-256, and what of it goes where in the home.

    members: part of the zip → folder of the home; a jar is put into ``lib`` whole and needs none.
    """

    coordinate: str
    sha256: str
    members: Mapping[str, str] = field(default_factory=dict)

    @property
    def packaging(self) -> str:
        """The kind of file, as Maven names it."""
        return "zip" if self.members else "jar"

    @property
    def file_name(self) -> str:
        """The name that Maven gives the file."""
        _, name, version = self.coordinate.split(":")
        return f"{name}-{version}.{self.packaging}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version of one engine.

    removed: folders of the home that a search node does not need.
    java_least: oldest Java feature release that runs it.
    variable_prefix: how its environment variables begin (``OPENSEARCH_JAVA_HOME``, …).
    dropped_jvm_options: beginnings of lines of its jvm.options that must not stand: modules that the JRE lacks, and
    files in the working directory, which is the home that nodes share and may not write to.
    """

    engine: str
    version: str
    artifacts: tuple[Artifact, ...]
    megabytes: int
    licence: str
    java_least: int
    variable_prefix: str
    command: str
    removed: tuple[str, ...] = ()
    dropped_jvm_options: tuple[str, ...] = ()

    @property
    def home_name(self) -> str:
        """The folder of its home: another one as soon as other files, or other parts of them, make it up."""
        made_of = [[artifact.sha256, sorted(artifact.members.items())] for artifact in self.artifacts]
        digest = hashlib.sha256(json.dumps([made_of, self.removed]).encode()).hexdigest()
        return f"{self.engine}-{self.version}-{digest[:8]}"


OPENSEARCH_3_6 = Release(
    engine="opensearch",
    version="3.6.0",
    artifacts=(
        Artifact(
            coordinate="org.opensearch.distribution.integ-test-zip:opensearch:3.6.0",
            sha256="a91faa1dc1cadc78cb278b4f63847e19e1627a4e9de698e14e7efc14ee37b286",
            members={"opensearch-3.6.0/": ""},
        ),
        Artifact(
            coordinate="org.opensearch.plugin:opensearch-knn:3.6.0.0",
            sha256="ac392ca28a39b3bf290648a422ef30cb149dda2963a9d7feb26060e932341c9a",
            members={"": "plugins/opensearch-knn/"},
        ),
        Artifact(
            coordinate="org.opensearch.plugin:neural-search:3.6.0.0",
            sha256="6ef1b206e79391e2e36268e32dc34d27fd8b8a59a8eb0a7393c97d53b038e433",
            members={"": "plugins/opensearch-neural-search/"},
        ),
        Artifact(
            coordinate="com.ibm.icu:icu4j-localespi:77.1",
            sha256="77d0da4f10c6158174cc3dafbb51356031a09e0fcaaf0432330afb4fb552cac9",
        ),
        Artifact(
            coordinate="com.ibm.icu:icu4j:77.1",
            sha256="b3640b9f416a4411fd33c59abbeea8fd57d024c23e1819bf9673220a97499fe3",
        ),
    ),
    megabytes=195,
    licence="Apache-2.0; ICU4J: Unicode-3.0",
    java_least=21,
    variable_prefix="OPENSEARCH",
    command="bin/opensearch",
    removed=("modules/ingest-geoip",),
    dropped_jvm_options=(
        "-Xlog:gc",
        "9-:-Xlog:gc",
        "-XX:ErrorFile",
        "-XX:HeapDumpPath",
        "-XX:+HeapDumpOnOutOfMemoryError",
        "20-:--add-modules=jdk.incubator.vector",
        "--add-modules=jdk.incubator.vector",
    ),
)

RELEASES = (OPENSEARCH_3_6,)


def find(engine: str, version: str | None = None) -> Release:
    """The release of this engine and version, the first known one of the engine if no version is given."""
    of_engine = [release for release in RELEASES if release.engine == engine]
    if not of_engine:
        raise EngineError(
            f"engine {engine!r} is not known", f"known: {', '.join({known.engine for known in RELEASES})}"
        )
    for release in of_engine:
        if version in (None, release.version):
            return release
    known = ", ".join(release.version for release in of_engine)
    raise EngineError(f"{engine} {version} can't be assembled here", f"known versions: {known}")
