"""The page of the hits contract is true: every test that it names exists, and every pain of the field has a test."""

from __future__ import annotations

import ast
import re

from shape.source import ROOT

PAGE = (ROOT / "docs" / "hits-contract.md").read_text()
HELD = [ROOT / "tests" / part for part in ("end_to_end", "contract", "unit/client")]
SOURCES = "\n".join(path.read_text() for folder in HELD for path in sorted(folder.rglob("test_*.py")))
OF_MERGING = [f"M{number}" for number in range(1, 28)]


def test_every_test_that_the_page_names_exists() -> None:
    """A row is held by a function of that very name."""
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    defined = set(re.findall(r"def (test_\w+)\(", SOURCES))
    assert named
    assert named - defined == set()


def test_every_row_names_a_test() -> None:
    """No promise without one."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Part")]
    assert len(rows) > 30
    assert [row for row in rows if "`test_" not in row.rpartition(" | ")[2]] == []


def test_every_pain_of_merging_scores_is_claimed_by_a_test_on_real_engines() -> None:
    """M1 to M27, by which the field's known mistakes go, each stand in the docstring of an end-to-end test."""
    claimed = {pain for claim in _claims() for pain in re.findall(r"\bM\d+\b", claim)}
    assert [pain for pain in OF_MERGING if pain not in claimed] == []


def _claims() -> list[str]:
    """The docstrings of the end-to-end tests."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests" / "end_to_end").rglob("test_*.py")]
    tests = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return [ast.get_docstring(test) or "" for test in tests if test.name.startswith("test_")]
