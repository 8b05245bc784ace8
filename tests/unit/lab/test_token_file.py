"""``rescorer sidecar token``: the token is printed once, the file holds its hash, and nothing else is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescorer_lab import cli
from rescorer_sidecar import tokens


def _ran(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.run(["sidecar", "token", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_token_is_on_standard_output_alone_and_opens_its_doors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the command prints is what the sidecar knows again; the file is its owner's and has no token in it."""
    path = tmp_path / "tokens.toml"
    code, out, err = _ran(capsys, "shop", "--file", str(path))
    token = out.strip()
    assert (code, out) == (0, f"{token}\n")
    assert token not in err + path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    owner = tokens.read(str(path)).owner(token)
    assert owner is not None
    assert (owner.name, owner.doors) == ("shop", {"score"})


def test_a_further_token_leaves_the_file_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Comments, tokens and mode stay; a name may have a second one."""
    path = tmp_path / "tokens.toml"
    first = _ran(capsys, "shop", "--file", str(path))[1].strip()
    path.write_text(path.read_text() + "# ours")
    path.chmod(0o640)
    before = path.read_text()
    second = _ran(capsys, "shop", "--file", str(path), "--door", "metrics", "--door", "admin")[1].strip()
    assert path.read_text().startswith(before)
    assert path.stat().st_mode & 0o777 == 0o640
    known = tokens.read(str(path))
    assert [sorted(entry.doors) for entry in known.entries] == [["score"], ["admin", "metrics"]]
    assert known.owner(first) != known.owner(second)
    assert [found.name for found in tmp_path.iterdir()] == ["tokens.toml"]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["a b"], "the name 'a b' must be 1 to 64 letters"),
        (["shop", "--file", "{folder}/broken.toml"], "broken.toml: key must be 64 hexadecimal digits"),
        (["shop", "--file", "{folder}/none/t.toml"], "No such file or directory; name a file that may be written"),
        (["shop", "--door", "back"], "'back' is not one of"),
    ],
)
def test_what_is_wrong_is_one_line_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], wrong: str
) -> None:
    """A name that is no label, a file that is none of ours, a door that is none: an error, and no token."""
    broken = tmp_path / "broken.toml"
    broken.write_text("key = 1")
    code, out, err = _ran(capsys, *(word.format(folder=tmp_path) for word in words))
    assert (code != 0, out) == (True, "")
    assert wrong in err
    assert broken.read_text() == "key = 1"
