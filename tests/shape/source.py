"""The tree as the shape tests read it: its packages, its test files and their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("plugin/rescorer", "plugin/rescorer_lab", "sidecar/rescorer_sidecar")


def package_files() -> list[Path]:
    """Every Python file of ours that ships, generated stubs left out."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def files_with_tests() -> list[Path]:
    """Every file with tests."""
    return sorted((ROOT / "tests").rglob("test_*.py"))


def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method in a file, nested ones too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, its docstring not counted."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def shown(path: Path, line: int) -> str:
    """``path:line`` from the root of the tree."""
    return f"{path.relative_to(ROOT)}:{line}"
