"""What is fetched is checked, what is unpacked is whole, and whatever goes wrong is one line that mends it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rescorer_lab import downloads
from rescorer_lab.downloads import Package
from rescorer_lab.errors import DownloadError

PIP = """
import json, shutil, sys
from pathlib import Path

plan = Path(sys.argv[1])
step, *later = json.loads(plan.read_text())
plan.write_text(json.dumps(later))
dest = Path(sys.argv[sys.argv.index("--dest") + 1])
if "copy" in step and not list(dest.glob("*.whl")):  # like pip, what lies there counts as downloaded
    shutil.copy(step["copy"], dest)
sys.stderr.write(step.get("says", ""))
sys.exit(1 if "says" in step else 0)
"""
NO_CONNECTION = """\
WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError("Failed to establish \
a new connection: [Errno 111] Connection refused")': /simple/tiny/
ERROR: Could not find a version that satisfies the requirement tiny==1.0 (from versions: none)
ERROR: No matching distribution found for tiny==1.0
"""
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"

Pip = Callable[..., list[str]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, named by the variable."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("RESCORER_CACHE", str(folder))
    return folder


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A small wheel with a text, a folder of two files, one of them executable."""
    return _zip(
        tmp_path / "index" / "tiny-1.0-py3-none-any.whl",
        {"tiny/data.txt": ("words", 0o644), "tiny/jre/bin/java": ("run", 0o755), "tiny/jre/lib/list": ("a b", 0o640)},
    )


@pytest.fixture
def package(wheel: Path) -> Package:
    """The small wheel as the lab describes it."""
    return Package(name="tiny", version="1.0", sha256=downloads.sha256(wheel), licence="MIT", megabytes=12.0)


@pytest.fixture
def pip(tmp_path: Path) -> Pip:
    """Makes a command that takes pip's place and follows a plan: each call copies a file or fails with a text."""
    script = tmp_path / "pip.py"
    script.write_text(PIP)

    def planned(*steps: dict[str, str]) -> list[str]:
        (tmp_path / "plan.json").write_text(json.dumps(steps))
        return [sys.executable, str(script), str(tmp_path / "plan.json")]

    return planned


@pytest.fixture
def calls_left(tmp_path: Path) -> Callable[[], int]:
    """How many calls of the plan are still open."""
    return lambda: len(json.loads((tmp_path / "plan.json").read_text()))


def _zip(path: Path, files: dict[str, tuple[str, int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, (text, mode) in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | mode) << 16
            whole.writestr(info, text, zipfile.ZIP_DEFLATED)
    return path


def _tar(path: Path, files: dict[str, tuple[str, int]]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, (text, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), mode
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def _truncated(whole: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / whole.name
    part.write_bytes(whole.read_bytes()[:-40])
    return part


def _one_line(error: DownloadError) -> str:
    assert "\n" not in str(error)
    return str(error)


def _files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_package_is_downloaded_into_the_cache_and_its_licence_is_said(
    cache: Path, package: Package, wheel: Path, pip: Pip
) -> None:
    """The archive lies under downloads/<name>-<version>, and name, size and licence are said before it comes."""
    said: list[str] = []
    found = downloads.fetch(package, said.append, pip({"copy": str(wheel)}))
    assert found == cache / "downloads" / "tiny-1.0" / wheel.name
    assert found.read_bytes() == wheel.read_bytes()
    assert said[0] == "downloading tiny 1.0 (12 MB, licence: MIT)"
    assert re.fullmatch(r"  done in \d+\.\d s", said[1])


def test_an_archive_in_the_cache_is_used_without_pip(
    cache: Path, package: Package, wheel: Path, pip: Pip, calls_left: Callable[[], int]
) -> None:
    """The second fetch asks pip for nothing and says nothing."""
    downloads.fetch(package, pip=pip({"copy": str(wheel)}))
    said: list[str] = []
    found = downloads.fetch(package, said.append, pip({"says": "asked again"}))
    assert (found.name, calls_left(), said) == (wheel.name, 1, [])


def test_a_truncated_archive_in_the_cache_is_fetched_again(
    cache: Path, package: Package, wheel: Path, pip: Pip
) -> None:
    """What an interruption left behind is removed before pip is asked, for pip would take it for downloaded."""
    _truncated(wheel, cache / "downloads" / "tiny-1.0")
    said: list[str] = []
    found = downloads.fetch(package, said.append, pip({"copy": str(wheel)}))
    assert downloads.sha256(found) == package.sha256
    assert said[0] == f"{wheel.name} in the cache has the wrong checksum, fetching it again"


def test_an_archive_that_came_truncated_is_fetched_once_more(
    cache: Path, package: Package, wheel: Path, tmp_path: Path, pip: Pip
) -> None:
    """One broken transfer is mended without the user, and told."""
    part = _truncated(wheel, tmp_path / "broken")
    said: list[str] = []
    found = downloads.fetch(package, said.append, pip({"copy": str(part)}, {"copy": str(wheel)}))
    assert downloads.sha256(found) == package.sha256
    assert f"  {wheel.name} has the wrong checksum, trying once more" in said


def test_an_archive_that_stays_broken_is_an_error_and_is_not_kept(
    cache: Path, package: Package, wheel: Path, tmp_path: Path, pip: Pip, calls_left: Callable[[], int]
) -> None:
    """After two broken transfers there is one line, no third try, and no file that a later run could trust."""
    broken = {"copy": str(_truncated(wheel, tmp_path / "broken"))}
    with pytest.raises(DownloadError) as caught:
        downloads.fetch(package, lambda _: None, pip(broken, broken, broken))
    assert _one_line(caught.value).startswith("tiny 1.0 came with the wrong checksum twice; check the package index")
    assert calls_left() == 1
    assert list((cache / "downloads" / "tiny-1.0").iterdir()) == []


def test_no_network_is_one_line_that_names_the_connection(cache: Path, package: Package, pip: Pip) -> None:
    """pip ends with a word about versions; the user reads the broken connection and what to check."""
    with pytest.raises(DownloadError) as caught:
        downloads.fetch(package, lambda _: None, pip({"says": NO_CONNECTION}))
    line = _one_line(caught.value)
    assert line.startswith("tiny 1.0 could not be downloaded: no connection to the package index (NewConnectionError")
    assert "Connection refused" in line
    assert line.endswith("check the network and pip's settings, then run the command again")


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("ERROR: one\nERROR: No matching distribution found for tiny==1.0\n", "No matching distribution found"),
        ("", "pip said nothing"),
    ],
)
def test_another_failure_of_pip_is_its_last_line(
    cache: Path, package: Package, pip: Pip, says: str, reason: str
) -> None:
    """Where pip fails for a reason of its own, its last line is the reason."""
    with pytest.raises(DownloadError, match=f"could not be downloaded: {reason}"):
        downloads.fetch(package, lambda _: None, pip({"says": says}))


def test_a_full_disk_while_downloading_is_one_line_that_names_folder_and_size(
    cache: Path, package: Package, pip: Pip
) -> None:
    """The line names the folder, the megabytes, and the variable that moves the cache."""
    with pytest.raises(DownloadError) as caught:
        downloads.fetch(package, lambda _: None, pip({"says": FULL}))
    line = _one_line(caught.value)
    assert f"no space left for 12 MB in {cache / 'downloads' / 'tiny-1.0'}" in line
    assert "RESCORER_CACHE" in line


def test_what_pip_could_write_on_a_full_disk_is_removed(
    cache: Path, package: Package, wheel: Path, tmp_path: Path, pip: Pip
) -> None:
    """A half archive of a failed download does not go on filling the disk."""
    part = _truncated(wheel, tmp_path / "broken")
    with pytest.raises(DownloadError):
        downloads.fetch(package, lambda _: None, pip({"copy": str(part), "says": FULL}))
    assert list((cache / "downloads" / "tiny-1.0").iterdir()) == []


def test_a_cache_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: Package, pip: Pip
) -> None:
    """A cache below a file names the folder and the variable."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadError) as caught:
        downloads.fetch(package, lambda _: None, pip())
    assert "Not a directory" in _one_line(caught.value)
    assert "RESCORER_CACHE" in str(caught.value)


def test_the_variable_names_the_cache_folder_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """RESCORER_CACHE wins, a tilde in it is the home folder, and the folder is absolute."""
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    monkeypatch.setenv("RESCORER_CACHE", "~/kept")
    assert downloads.cache_folder() == Path("/home/someone/kept")
    monkeypatch.setenv("RESCORER_CACHE", "relative")
    assert downloads.cache_folder() == Path.cwd() / "relative"


def test_without_the_variable_the_cache_folder_is_one_that_the_engine_can_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Root, whose engine runs as nobody, gets /var/cache/rescorer; everybody else a folder of the own cache."""
    monkeypatch.setenv("RESCORER_CACHE", "")
    monkeypatch.setenv("HOME", "/home/someone")
    for set_to, expected in (("/elsewhere", "/elsewhere/rescorer"), ("", "/home/someone/.cache/rescorer")):
        monkeypatch.setenv("XDG_CACHE_HOME", set_to)
        assert downloads.cache_folder() == Path(expected if os.geteuid() else "/var/cache/rescorer")


@pytest.mark.parametrize("packed", [_zip, _tar], ids=["zip", "tar.gz"])
def test_only_the_named_members_are_taken_with_their_executable_bits(
    tmp_path: Path, packed: Callable[[Path, Any], Path]
) -> None:
    """A file and a folder go where they are told, runnable files stay runnable, everything else stays inside."""
    name = "a.zip" if packed is _zip else "a.tar.gz"
    archive = packed(
        tmp_path / name,
        {"p/one": ("1", 0o600), "p/jre/bin/java": ("2", 0o755), "p/jre/lib/x": ("3", 0o640), "p/left": ("4", 0o644)},
    )
    target = downloads.unpack(archive, {"p/one": "first.txt", "p/jre/": "java/"}, tmp_path / "out")
    assert _files(target) == {"first.txt": "1", "java/bin/java": "2", "java/lib/x": "3"}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*") if path.is_file()}
    assert modes == {"first.txt": 0o644, "java": 0o755, "x": 0o644}


def test_the_empty_member_is_the_whole_archive(tmp_path: Path) -> None:
    """Everything of the archive lands under the folder that is named for it."""
    archive = _zip(tmp_path / "a.zip", {"x": ("1", 0o644), "deep/y": ("2", 0o644)})
    downloads.extract(archive, {"": "plugins/p/"}, tmp_path / "out")
    assert _files(tmp_path / "out") == {"plugins/p/x": "1", "plugins/p/deep/y": "2"}


def test_no_member_is_written_outside_the_target(tmp_path: Path) -> None:
    """A name that climbs out of the folder is left out."""
    archive = _zip(tmp_path / "a.zip", {"../climbed": ("1", 0o644), "x": ("2", 0o644)})
    downloads.extract(archive, {"": ""}, tmp_path / "out")
    assert not (tmp_path / "climbed").exists()
    assert _files(tmp_path / "out") == {"x": "2"}


def test_what_is_unpacked_is_not_unpacked_again(tmp_path: Path, wheel: Path) -> None:
    """A target that is there is complete, so that the archive is not even opened."""
    target = downloads.unpack(wheel, {"tiny/": ""}, tmp_path / "out")
    wheel.unlink()
    assert downloads.unpack(wheel, {"tiny/": ""}, target) == target


def test_the_leavings_of_an_interruption_are_replaced(tmp_path: Path, wheel: Path) -> None:
    """A half folder of a run that was killed neither counts as the target nor leaves a file in it."""
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "stale").write_text("half")
    target = downloads.unpack(wheel, {"tiny/data.txt": "data.txt"}, tmp_path / "out")
    assert _files(target) == {"data.txt": "words"}
    assert not (tmp_path / "out.partial").exists()


def test_members_are_checked_before_the_target_appears(tmp_path: Path, wheel: Path) -> None:
    """With the right checksum the target appears; with a wrong one there is a line and no target."""
    right = {"data.txt": hashlib.sha256(b"words").hexdigest()}
    assert downloads.unpack(wheel, {"tiny/data.txt": "data.txt"}, tmp_path / "good", right).is_dir()
    with pytest.raises(DownloadError, match=r"data\.txt of tiny-1\.0.* is missing or has the wrong checksum; delete "):
        downloads.unpack(wheel, {"tiny/data.txt": "data.txt"}, tmp_path / "bad", {"data.txt": "0" * 64})
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("member", ["tiny/other.txt", "other/"])
def test_a_member_that_is_not_there_is_named(tmp_path: Path, wheel: Path, member: str) -> None:
    """An archive without the expected part is one line, and leaves nothing behind."""
    with pytest.raises(DownloadError) as caught:
        downloads.unpack(wheel, {"tiny/data.txt": "a/data.txt", member: "b"}, tmp_path / "out")
    assert _one_line(caught.value) == f"{wheel.name} does not hold {member}; delete {wheel} and run the command again"
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("packed", [_zip, _tar], ids=["zip", "tar.gz"])
@pytest.mark.parametrize("damage", ["truncated", "garbled", "empty"])
def test_a_broken_archive_is_one_line_and_leaves_no_folder(
    tmp_path: Path, packed: Callable[[Path, Any], Path], damage: str
) -> None:
    """However an archive is damaged, the line names it and the file to delete, and no folder appears."""
    text = "".join(chr(32 + hash_ % 90) for hash_ in hashlib.sha512(b"seed").digest()) * 50
    whole = packed(tmp_path / ("a.zip" if packed is _zip else "a.tar.gz"), {"x": (text, 0o644), "y": (text, 0o644)})
    content = whole.read_bytes()
    middle = len(content) // 4
    damaged = {
        "truncated": content[: len(content) // 2],
        "garbled": content[:middle]
        + bytes(255 - byte for byte in content[middle : middle + 20])
        + content[middle + 20 :],
        "empty": b"",
    }
    whole.write_bytes(damaged[damage])
    with pytest.raises(DownloadError) as caught:
        downloads.unpack(whole, {"": ""}, tmp_path / "out")
    assert _one_line(caught.value) == f"{whole.name} is no whole archive; delete {whole} and run the command again"
    assert sorted(path.name for path in tmp_path.iterdir()) == [whole.name]


def test_a_full_disk_while_unpacking_is_one_line(tmp_path: Path, wheel: Path) -> None:
    """The system's own word for it, the folder, and the variable that moves the cache."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "data.txt").symlink_to("/dev/full")
    with pytest.raises(DownloadError) as caught:
        downloads.extract(wheel, {"tiny/data.txt": "data.txt"}, target)
    line = _one_line(caught.value)
    assert line == f"{target}: No space left on device; free some, or name another folder with RESCORER_CACHE"


def test_a_folder_that_may_not_be_written_is_one_line(tmp_path: Path, wheel: Path) -> None:
    """A target below a file names the target and the variable."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="Not a directory; check the folder, or name another with RESCORER_CACHE"):
        downloads.unpack(wheel, {"tiny/": ""}, tmp_path / "file" / "out")
