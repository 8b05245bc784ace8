"""The report file is whole or not there, and says what it was made with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rescorer
from rescorer_lab import report
from rescorer_lab.errors import LabError


def test_what_is_written_can_be_read_back(tmp_path: Path) -> None:
    """The file holds the report as JSON, under the absolute path that is returned."""
    path = report.write(tmp_path / "deep" / "report.json", {"metrics": {"bm25": {"nDCG@10": 0.5}}, "ids": ("a", "b")})
    assert path.is_absolute()
    assert json.loads(path.read_text()) == {"metrics": {"bm25": {"nDCG@10": 0.5}}, "ids": ["a", "b"]}
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


def test_figures_keep_six_decimals_and_what_is_no_number_is_null(tmp_path: Path) -> None:
    """A third is shortened, not-a-number and infinity become null at any depth."""
    path = report.write(tmp_path / "r.json", {"x": 1 / 3, "deep": [{"y": float("nan")}, float("inf")], "n": 3})
    assert json.loads(path.read_text()) == {"x": 0.333333, "deep": [{"y": None}, None], "n": 3}


def test_an_older_report_is_replaced(tmp_path: Path) -> None:
    """A second report takes the place of the first."""
    path = tmp_path / "report.json"
    report.write(path, {"run": 1})
    report.write(path, {"run": 2})
    assert json.loads(path.read_text()) == {"run": 2}


def test_a_report_that_cannot_be_made_into_json_leaves_the_older_one(tmp_path: Path) -> None:
    """The old file stays whole where the new one fails."""
    path = report.write(tmp_path / "report.json", {"run": 1})
    with pytest.raises(TypeError):
        report.write(path, {"run": object()})
    assert json.loads(path.read_text()) == {"run": 1}


@pytest.mark.parametrize("where", ["a-file/report.json", "a-folder"])
def test_a_path_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, where: str) -> None:
    """Below a file, or where a folder stands, the check names the path and the option."""
    (tmp_path / "a-file").write_text("")
    (tmp_path / "a-folder").mkdir()
    with pytest.raises(LabError, match=f"{where} can't be written; .*--report"):
        report.check_writable(tmp_path / where)
    with pytest.raises(LabError, match="--report"):
        report.write(tmp_path / where, {})


def test_a_path_in_a_folder_that_is_yet_to_be_made_is_fine(tmp_path: Path) -> None:
    """Missing folders are made when the time comes, and none before."""
    report.check_writable(tmp_path / "not" / "yet" / "report.json")
    assert list(tmp_path.iterdir()) == []


def test_the_report_names_versions_and_machine() -> None:
    """Our own version and the libraries that decide figures are named, and the cores that times depend on."""
    found = report.versions()
    assert found["rescorer"] == rescorer.__version__
    assert {"python", "onnxruntime", "ir-measures"} <= found.keys()
    assert report.machine()["cores"] >= 1
