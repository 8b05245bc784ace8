"""What a release of an engine is made of and what a node of it needs: data, read by code that knows no engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A zip or jar on Maven Central: ``group:name:version``, its SHA-256, and what of it goes where in the home.

    members: part of the zip → folder of the home. A jar has none; it is put whole into ``folder``.
    """

    coordinate: str
    sha256: str
    members: Mapping[str, str] = field(default_factory=dict)
    folder: str = "lib"

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

    variable_prefix: how its environment variables begin (``OPENSEARCH_JAVA_HOME``, …).
    removed: what a search node does not need, as patterns of files and folders of the home.
    written: files that the artifacts lack, path in the home → text.
    settings: lines of a node's configuration beyond address, ports, folders and names.
    java_least, java_most: oldest and, if any, newest Java feature release that runs it.
    needs_jdk: a JRE is not enough, for want of modules.
    otherwise: what a user may do who has no such Java, to end an error with.
    java_options: what Java is told beyond the heap.
    dropped_jvm_options: beginnings of lines of its jvm.options that must not stand: modules that the JRE lacks, and
    files in the working directory, which is the home that nodes share and may not write to.
    answers_with: a header that each of its answers has, so that no other program on the port is taken for it.
    """

    engine: str
    version: str
    artifacts: tuple[Artifact, ...]
    megabytes: int
    licence: str
    variable_prefix: str
    command: str
    removed: tuple[str, ...] = ()
    written: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    java_least: int
    java_most: int | None = None
    needs_jdk: bool = False
    otherwise: str = ""
    java_options: tuple[str, ...] = ()
    dropped_jvm_options: tuple[str, ...] = ()
    answers_with: tuple[str, str] | None = None

    @property
    def home_name(self) -> str:
        """The folder of its home: another one as soon as other files, or other parts of them, make it up."""
        made_of = [[artifact.sha256, sorted(artifact.members.items()), artifact.folder] for artifact in self.artifacts]
        parts = json.dumps([made_of, self.removed, sorted(self.written.items())])
        return f"{self.engine}-{self.version}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}"
