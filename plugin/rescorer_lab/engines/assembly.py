"""The home of a release: its artifacts, fetched and unpacked once into a folder that nodes share."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rescorer_lab import downloads
from rescorer_lab.downloads import Say
from rescorer_lab.engines import maven
from rescorer_lab.engines.release import Release


def home(release: Release, java_home: Path, say: Say) -> Path:
    """The folder of the unpacked release, assembled if it is not there yet; ``java_home`` is for Maven.

    Once it is there it is whole, and the archives that it was made of are gone. Raises EngineError, DownloadError.
    """
    target = downloads.cache_folder() / "engine-homes" / release.home_name
    if target.is_dir():
        return target
    with _alone(say):
        if not target.is_dir():
            _assemble(release, java_home, target, say)
    return target


@contextmanager
def _alone(say: Say) -> Iterator[None]:
    """While another process assembles a home, wait for it: it may be the same one, and Maven's repository is shared."""
    cache = downloads.cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "engine-homes.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another command that assembles an engine")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _assemble(release: Release, java_home: Path, target: Path, say: Say) -> None:
    archives = target.with_name(target.name + ".archives")
    maven.download(release, java_home, archives, say)
    begun_s = time.monotonic()
    partial = target.with_name(target.name + downloads.PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    _unpack(release, archives, partial)
    _finish(release, partial)
    partial.rename(target)
    shutil.rmtree(archives)
    say(f"  unpacked into {target} in {time.monotonic() - begun_s:.1f} s")
    freed = maven.forget(release)
    say(f"  deleted its archives, also from Maven's local repository ({freed / 1e6:.0f} MB)")


def _unpack(release: Release, archives: Path, folder: Path) -> None:
    for artifact in release.artifacts:
        archive = archives / artifact.file_name
        if artifact.members:
            downloads.extract(archive, artifact.members, folder)
        else:
            (folder / artifact.folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(archive, folder / artifact.folder)


def _finish(release: Release, folder: Path) -> None:
    """Take away what is not needed and add what lacks."""
    for pattern in release.removed:
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name, text in release.written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "plugins").mkdir(exist_ok=True)  # every engine wants to find it, be it empty
