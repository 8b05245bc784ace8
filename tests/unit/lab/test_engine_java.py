"""The Java of a node: whose is taken, in which order, and what to do where there is none."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rescorer_lab.engines import java, releases
from rescorer_lab.engines.release import Release
from rescorer_lab.errors import EngineError
from unit.lab.toy_engine import Toy

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")


@pytest.fixture
def bare(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """The toy on a machine where no variable names a Java and no tool installs one."""
    monkeypatch.delenv("TOY_JAVA_HOME")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    (toy.folder / "jvm").mkdir()
    return toy


def _home(toy: Toy, release: Release) -> Path:
    return java.home(release, toy.said.append, toy.folder / "jvm")


def _failed(toy: Toy, release: Release) -> str:
    with pytest.raises(EngineError) as caught:
        _home(toy, release)
    return str(caught.value)


def _with_jdk(toy: Toy) -> Release:
    return replace(toy.release(), needs_jdk=True)


def test_the_java_that_the_user_names_wins(toy: Toy) -> None:
    """A Java that suits is used as it is, and nothing is downloaded."""
    assert _home(toy, toy.release()) == toy.java
    assert toy.said == []


@pytest.mark.parametrize(
    ("version", "shown"), [("17.0.2", "Java 17"), ("1.8.0_402", "Java 8"), ("24.0.1", "Java 24"), ("words", "no Java")]
)
def test_a_named_java_out_of_bounds_is_refused(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, version: str, shown: str
) -> None:
    """The line names the variable, the version found and the versions that would do."""
    home = toy.make_java("other", version)
    monkeypatch.setenv("TOY_JAVA_HOME", str(home))
    assert _failed(toy, replace(toy.release(), java_most=23)) == (
        f"TOY_JAVA_HOME={home} is {shown}, and toy 1.0 needs Java, 21 to 23; unset TOY_JAVA_HOME or name another"
    )


def test_a_named_java_that_is_not_there_is_refused(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a Java is told as one."""
    monkeypatch.setenv("TOY_JAVA_HOME", "/nowhere")
    assert _failed(toy, toy.release()).startswith("TOY_JAVA_HOME=/nowhere is no Java, and toy 1.0 needs Java, 21 or")


def test_a_named_jre_is_refused_where_a_jdk_is_needed(toy: Toy) -> None:
    """The version is right, so the line says what is missing."""
    assert _failed(toy, _with_jdk(toy)) == (
        f"TOY_JAVA_HOME={toy.java} is Java 21 without javac, and toy 1.0 needs a JDK, 21 or newer; "
        "unset TOY_JAVA_HOME or name another"
    )


def test_the_jre_of_an_earlier_run_is_used_again(bare: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable the JRE in the cache is taken before any of the machine's, and nothing is downloaded."""
    monkeypatch.setenv("JAVA_HOME", str(bare.java))
    cached = bare.folder / "cache" / "java" / java.PACKAGES["x86_64"].version
    cached.mkdir(parents=True)
    assert _home(bare, bare.release()) == cached
    assert bare.said == []


def test_java_home_comes_before_what_is_installed(bare: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the JRE from PyPI is not enough, ``JAVA_HOME`` is taken, and said."""
    bare.make_java("jvm/jdk-21", "21.0.1", jdk=True)
    named = bare.make_java("named", "25.0.1", jdk=True)
    monkeypatch.setenv("JAVA_HOME", str(named))
    assert _home(bare, _with_jdk(bare)) == named
    assert bare.said == [f"toy 1.0 runs on the machine's Java 25 in {named}"]


def test_the_oldest_installed_jdk_that_suits_is_taken(bare: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too old, a JRE, and a ``JAVA_HOME`` that is too old are passed over; an alias is its real folder."""
    monkeypatch.setenv("JAVA_HOME", str(bare.make_java("named", "17.0.1", jdk=True)))
    bare.make_java("jvm/a-17", "17.0.1", jdk=True)
    bare.make_java("jvm/b-21-jre", "21.0.1")
    bare.make_java("jvm/c-25", "25", jdk=True)
    oldest = bare.make_java("jvm/d-22", "22.0.1", jdk=True)
    (bare.folder / "jvm" / "a-alias").symlink_to(oldest)
    assert _home(bare, _with_jdk(bare)) == oldest


def test_a_release_that_the_jre_is_too_new_for_runs_on_the_machine_s(bare: Toy) -> None:
    """With an upper bound below the JRE from PyPI, an installed Java within the bounds is taken."""
    installed = bare.make_java("jvm/jre-21", "21.0.1")
    bare.make_java("jvm/jre-24", "24.0.1")
    assert _home(bare, replace(bare.release(), java_most=23)) == installed


def test_without_a_jdk_the_line_offers_the_release_that_runs_on_an_older_one(
    bare: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elasticsearch 9.4.3 says what to install or name, and the version that Debian's Java 17 runs."""
    monkeypatch.delenv("ES_JAVA_HOME", raising=False)
    assert _failed(bare, releases.find("elasticsearch")) == (
        "elasticsearch 9.4.3 needs a JDK, 21 or newer, and this machine has none; install one, name one with "
        "ES_JAVA_HOME, or take the release that runs on Java 17: --version 8.19.13"
    )
    assert not (bare.folder / "cache").exists()


def test_where_debian_s_java_would_do_the_line_names_its_package(bare: Toy) -> None:
    """Who may not install it is told what to install."""
    assert _failed(bare, replace(bare.release(), java_least=11, java_most=23)) == (
        "toy 1.0 needs Java, 11 to 23, and this machine has none; "
        "install one (apt-get install openjdk-17-jdk-headless) or name one with TOY_JAVA_HOME"
    )


@root_only
def test_root_gets_debian_s_java_installed_and_is_told(bare: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """With apt-get at hand and Java 17 within the bounds, it is installed, said before, and used."""
    kept = bare.make_java("kept", "17.0.15", jdk=True)
    bare.make_script(
        "apt-get",
        f"#!{sys.executable}\nimport shutil, sys\nif 'openjdk-17-jdk-headless' in sys.argv:\n"
        f"    shutil.copytree({str(kept)!r}, {str(bare.folder / 'jvm' / 'openjdk-17')!r})\n",
    )
    monkeypatch.setenv("PATH", str(bare.tools))
    assert _home(bare, replace(_with_jdk(bare), java_least=17)) == bare.folder / "jvm" / "openjdk-17"
    assert bare.said[0] == "installing openjdk-17-jdk-headless with apt-get"


@root_only
def test_a_java_that_apt_get_does_not_bring_is_one_line(bare: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where apt-get fails, the line is the one of a machine without it."""
    bare.make_script("apt-get", f"#!{sys.executable}\nraise SystemExit(100)\n")
    monkeypatch.setenv("PATH", str(bare.tools))
    assert _failed(bare, replace(_with_jdk(bare), java_least=17)).startswith("toy 1.0 needs a JDK, 17 or newer, and th")


@root_only
def test_a_java_that_is_too_old_to_help_is_not_installed(bare: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt-get is not even asked where Debian's Java is below the least one."""
    bare.make_script("apt-get", f"#!{sys.executable}\nopen({str(bare.folder / 'asked')!r}, 'w')\n")
    monkeypatch.setenv("PATH", str(bare.tools))
    assert "needs a JDK, 21 or newer" in _failed(bare, _with_jdk(bare))
    assert not (bare.folder / "asked").exists()
