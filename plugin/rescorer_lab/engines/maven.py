"""Maven, which fetches the artifacts: the machine's own, else Debian's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from xml.sax.saxutils import escape

from rescorer_lab import downloads
from rescorer_lab.downloads import Say
from rescorer_lab.engines import debian
from rescorer_lab.engines.release import Release
from rescorer_lab.errors import EngineError

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


def download(release: Release, java_home: Path, folder: Path, say: Say) -> None:
    """Put the release's artifacts into ``folder``, checked; through Maven and a local repository in the cache.

    ``java_home`` runs Maven where the machine has no Java of its own. What was fetched before an interruption is not
    fetched again. Raises EngineError in one line.
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
        env=os.environ | ({} if has_java else {"JAVA_HOME": str(java_home)}),
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


def _maven(say: Say) -> str:
    found = shutil.which("mvn")
    if found is None and not debian.may_install():
        raise EngineError("Maven is missing", "run: sudo apt-get install maven")
    if found is None:
        debian.install("maven", say)
        found = shutil.which("mvn")
    if found is None:
        raise EngineError("Maven could not be installed", "run: apt-get install maven")
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
