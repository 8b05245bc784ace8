"""Sizes that keep a room readable; each exception stands here with its reason."""

from __future__ import annotations

import pytest

from shape.source import code_lines, functions, package_files, shown

MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 50
MOST_PARAMETERS = 7


def test_files_are_short_enough_to_read_at_one_sitting() -> None:
    """No file of the packages is longer than 400 lines."""
    long = {
        path.name: lines for path in package_files() if (lines := len(path.read_text().splitlines())) > MOST_FILE_LINES
    }
    assert long == {}


def test_functions_fit_on_one_screen() -> None:
    """No function of the packages is longer than 50 lines, its docstring not counted."""
    long = [
        f"{shown(path, function.lineno)} {function.name}: {code_lines(function)}"
        for path in package_files()
        for function in functions(path)
        if code_lines(function) > MOST_FUNCTION_LINES
    ]
    assert long == []


def test_functions_take_few_parameters() -> None:
    """No function takes more than seven parameters, save command lines (the user's options) and kernels (pointers)."""
    many = []
    for path in package_files():
        if "cli" in path.parts or path.name == "packed_triton.py":
            continue
        for function in functions(path):
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            counted = [argument for argument in arguments if argument.arg not in {"self", "cls"}]
            if len(counted) > MOST_PARAMETERS:
                many.append(f"{shown(path, function.lineno)} {function.name}: {len(counted)}")
    assert many == []


@pytest.mark.parametrize("words", ["print("])
def test_only_the_command_lines_print(words: str) -> None:
    """Nothing prints but the command lines."""
    speaking = {
        str(path.name)
        for path in package_files()
        if words in path.read_text().replace("console.print(", "").replace("Console(", "")
        and not {"cli", "demo"} & set(path.parts)
        and path.name != "__main__.py"
    }
    assert speaking == set()
