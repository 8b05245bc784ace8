"""The commands ``demo`` and ``models``: what they accept, print and refuse, each refusal one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescorer_lab import cli, models
from unit.lab.quantised import save_quantised


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("documents", ["some", "0", "-1", "1.5"])
def test_a_wrong_number_of_documents_is_one_line(documents: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no number is named, with what to write instead, before anything is fetched."""
    assert cli.run(["demo", "--documents", documents]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error --documents '{documents}' is no number; write all, or a number such as 500"
    ]


@pytest.mark.parametrize(
    "wrong",
    [["--queries", "0"], ["--window", "0"], ["--window", "10001"], ["--max-tokens", "-1"], ["--querys", "3"]],
    ids=" ".join,
)
def test_options_out_of_range_are_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The option is named and the exit code is that of wrong usage."""
    assert cli.run(["demo", *wrong]) == 2
    assert wrong[0] in capsys.readouterr().err


def test_a_report_in_an_impossible_place_is_one_line(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo does not begin where its report can't be written."""
    assert cli.run(["demo", "--report", str(cache)]) == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert "--report" in said.err
    assert said.out == ""


def test_models_are_listed_with_licence_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    """Each model's name, licence and what runs it; a folder only where it is there."""
    models.folder(models.EMBEDDER).mkdir(parents=True)
    assert cli.run(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert all(release.name in out and release.about in out for release in models.RELEASES)
    assert str(models.folder(models.EMBEDDER)) in out
    assert str(models.folder(models.CROSS_ENCODER)) not in out


def test_getting_a_model_prints_its_folder_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output can stand in another command's line; what happens is told on standard error."""
    save_quantised(models.folder(models.CROSS_ENCODER))
    assert cli.run(["models", "get", models.RECOVERED]) == 0
    said = capsys.readouterr()
    assert said.out == f"{models.folder(models.RECOVERED)}\n"
    assert "recovering fp32 weights" in said.err


def test_getting_an_unknown_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest name is in the error, and nothing on standard output."""
    assert cli.run(["models", "get", "ms-marco-MiniLM-L-12-v2-int"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error 'ms-marco-MiniLM-L-12-v2-int' is no model that can be fetched; "
        "did you mean ms-marco-MiniLM-L-12-v2-int8?"
    ]
