"""The threat model is held: each line names tests that are there, and no room of locked doors is forgotten."""

from __future__ import annotations

import ast
import functools
import re

from shape.source import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ") and "Held by" not in line]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@functools.cache
def _tests(path: str) -> set[str]:
    file = ROOT / "tests" / path
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_line_names_a_test_that_holds_it() -> None:
    """A threat, a defence, and one test at least that is in the tree; nothing else stands in the last column."""
    assert len(ROWS) > 20
    for row in ROWS:
        threat, defence, held = (cell.strip() for cell in row)
        assert threat, row
        assert defence, row
        assert NAMED.sub("", held).split() == [], held
        found = NAMED.findall(held)
        assert found, f"no test holds: {threat}"
        assert [f"{path}::{name}" for path, name in found if name not in _tests(path)] == []


def test_every_room_of_locked_doors_is_in_it() -> None:
    """Each file of tests that doors are locked by holds a line at least."""
    named = {path for path, _ in NAMED.findall(PAGE)}
    rooms = (ROOT / "tests" / "contract" / "doors").glob("test_*.py")
    assert {f"contract/doors/{path.name}" for path in rooms} - named == set()


def test_what_is_not_defended_is_said() -> None:
    """The page ends with what nothing holds."""
    _, _, rest = PAGE.partition("## Not defended\n")
    assert rest.count("\n- **") >= 5
