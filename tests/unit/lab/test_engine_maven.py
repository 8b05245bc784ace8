"""Maven for a node: how it is called, what it leaves behind, and what its failures say."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from rescorer_lab.engines import maven
from rescorer_lab.errors import EngineError
from unit.lab.toy_engine import Toy

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
OFFLINE = (
    "\x1b[0m[ERROR] Plugin a:copy:1 could not be resolved: transfer failed: Connection refused -> [Help 1]\n"
    "[ERROR] \n"
    "[ERROR] To see the full stack trace of the errors, re-run Maven with the -e switch.\n\x1b[0m"
)


def _download(toy: Toy, *, garbled: bool = False) -> Path:
    release = toy.release()
    if garbled:
        (toy.folder / "central" / "toy-1.0.zip").write_bytes(b"other")
    maven.download(release, toy.java, toy.folder / "zips", toy.said.append)
    return toy.folder / "zips"


def _failed(toy: Toy, *, garbled: bool = False) -> str:
    with pytest.raises(EngineError) as caught:
        _download(toy, garbled=garbled)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_maven_fetches_exactly_the_artifacts_into_a_repository_of_the_cache(toy: Toy) -> None:
    """The pom names each coordinate and kind of file, and what Maven keeps lies in the cache for a rerun."""
    zips = _download(toy)
    (call,) = (json.loads(line) for line in toy.maven_calls())
    assert f"-Dmaven.repo.local={toy.folder}/cache/maven" in call["arguments"]
    assert call["arguments"][-1] == maven.COPY
    item = re.search("<artifactItem>(.*)</artifactItem>", (zips / "pom.xml").read_text())
    assert item is not None
    assert re.findall(r">([^<>]+)<", item[1]) == ["a.group", "toy", "1.0", "zip"]
    assert (zips / "toy-1.0.zip").is_file()


def test_maven_runs_on_our_java_where_the_machine_has_none(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAVA_HOME is given only if no java is on the PATH and none is named."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(toy.tools))
    _download(toy)
    toy.make_script("java", f"#!{sys.executable}")
    _download(toy)
    (toy.tools / "java").unlink()
    monkeypatch.setenv("JAVA_HOME", "/own")
    _download(toy)
    assert [json.loads(line)["java"] for line in toy.maven_calls()] == [str(toy.java), None, "/own"]


def test_without_network_maven_s_first_error_is_the_reason(toy: Toy) -> None:
    """One line without colours and help numbers, and what to check."""
    toy.maven_says(OFFLINE)
    assert _failed(toy) == (
        "toy 1.0 could not be downloaded: Plugin a:copy:1 could not be resolved: transfer failed: Connection refused; "
        "check the network and Maven's settings, then run the command again"
    )


@pytest.mark.parametrize(
    ("says", "reason"), [("", "Maven said nothing"), ("Error: no such main class\nmore", "Error: no such main class")]
)
def test_a_maven_that_fails_in_another_way_is_quoted(toy: Toy, says: str, reason: str) -> None:
    """Its first line is the reason, and silence is called by its name."""
    toy.maven_says(says)
    assert f"could not be downloaded: {reason}; check" in _failed(toy)


def test_a_full_disk_under_maven_names_the_cache_folder(toy: Toy) -> None:
    """The line names the folder and the variable that moves it."""
    toy.maven_says("[ERROR] Could not transfer artifact: /x: No space left on device -> [Help 1]")
    assert _failed(toy) == (
        f"toy 1.0 could not be downloaded: {toy.folder}/cache has no space left; "
        "free some, or name another folder with RESCORER_CACHE"
    )


def test_an_artifact_with_another_checksum_is_refused(toy: Toy) -> None:
    """The line names the file and the folder whose deletion brings a fresh one."""
    assert _failed(toy, garbled=True) == (
        f"toy-1.0.zip is missing or has the wrong checksum; delete {toy.folder}/cache/maven and run the command again"
    )


def test_a_missing_maven_is_asked_for_by_name(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it can't be installed by the command itself, the line is the command that does."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert _failed(toy) == "Maven is missing; run: sudo apt-get install maven"


@root_only
def test_root_gets_maven_installed_and_is_told(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """With apt-get at hand, Maven is installed once, said before, and used."""
    whole = toy.folder / "whole"
    (toy.tools / "mvn").rename(whole)
    calls = toy.folder / "apt"
    toy.make_script(
        "apt-get",
        f"#!{sys.executable}\nimport shutil, sys\nopen({str(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        f"if sys.argv[1] == 'install':\n    shutil.copy({str(whole)!r}, {str(toy.tools / 'mvn')!r})\n",
    )
    monkeypatch.setenv("PATH", str(toy.tools))
    _download(toy)
    assert calls.read_text().splitlines() == ["update -q", "install -qy --no-install-recommends maven"]
    assert toy.said[0] == "installing maven with apt-get"
    assert len(toy.maven_calls()) == 1


@root_only
def test_a_maven_that_cannot_be_installed_is_one_line(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where apt-get fails, the line is the command to try by hand."""
    (toy.tools / "mvn").unlink()
    toy.make_script("apt-get", f"#!{sys.executable}\nraise SystemExit(100)\n")
    monkeypatch.setenv("PATH", str(toy.tools))
    assert _failed(toy) == "Maven could not be installed; run: apt-get install maven"
