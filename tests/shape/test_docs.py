"""The documentation is true: its commands exist, its Python compiles, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rescorer_lab import cli
from shape.source import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _lines(page: Path, *starts: str) -> list[str]:
    blocks = [body for language, body in BLOCK.findall(page.read_text()) if language in {"sh", "bash", "console"}]
    lines = [line.strip().removeprefix("$ ") for body in blocks for line in body.replace("\\\n", " ").splitlines()]
    return [line.split(" #")[0].strip() for line in lines if line.startswith(starts)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_in_the_docs_exist(page: Path) -> None:
    """Each ``make`` line of a page names a target that ``make help`` lists."""
    named = {word for line in _lines(page, "make ") for word in line.split()[1:] if "=" not in word}
    assert named - TARGETS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_rescorer_commands_in_the_docs_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each ``rescorer`` line of a page names a command and options that exist."""
    for line in _lines(page, "rescorer "):
        words = shlex.split(re.split(r"\s[|>&]", line)[0])[1:]
        assert cli.run([*words, "--help"]) == 0, line
    capsys.readouterr()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_compiles(page: Path) -> None:
    """Each Python block of a page is valid Python, an ellipsis allowed."""
    for language, body in BLOCK.findall(page.read_text()):
        if language == "python":
            compile(body, f"{page.name} (python block)", "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_in_the_docs_lead_somewhere(page: Path) -> None:
    """Each relative link of a page names a file of the tree."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
