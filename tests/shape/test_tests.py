"""Tests about the tests: each says its claim, none sleeps, none patches our own code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from shape.source import ROOT, files_with_tests, functions, shown, tree


@pytest.mark.parametrize("path", files_with_tests(), ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_every_test_states_its_claim(path: Path) -> None:
    """Each test function has a docstring, and its first line is one whole sentence."""
    silent = []
    for function in functions(path):
        if function.name.startswith("test_"):
            claim = (ast.get_docstring(function) or "").split("\n\n")[0].strip()
            if not claim.endswith("."):
                silent.append(f"{shown(path, function.lineno)} {function.name}")
    assert silent == []


def _calls(path: Path) -> list[tuple[int, str, list[str]]]:
    return [
        (node.lineno, ast.unparse(node.func), [ast.unparse(argument) for argument in node.args])
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
    ]


@pytest.mark.parametrize("path", files_with_tests(), ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_no_test_sleeps_or_patches_our_own_code(path: Path) -> None:
    """Tests wait for events, never for time, and take fakes through the front door."""
    wrong = []
    for line, name, arguments in _calls(path):
        sleeps = name in {"time.sleep", "sleep"} or (name == "asyncio.sleep" and arguments != ["0"])
        patches = name.split(".")[-1] == "patch" and any("rescorer" in argument for argument in arguments)
        patches = patches or (name == "monkeypatch.setattr" and "rescorer" in arguments[0])
        if sleeps or patches:
            wrong.append(f"{shown(path, line)} {name}")
    assert wrong == []
