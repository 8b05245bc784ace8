"""The demo as a user runs it, on a cut-down collection: interrupted, resumed, whole, and quick the next time."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rescorer_lab import downloads, engines

pytestmark = pytest.mark.slow

NODE, DOCUMENTS, QUERIES = "tests-demo", 300, 12
TO_DO = re.compile(rf"{DOCUMENTS} documents in rescorer-scifact-{DOCUMENTS}, (\d+) to embed and index")
DONE = re.compile(rf"(\d+) of {DOCUMENTS} documents")
SIDECAR = re.compile(r"127\.0\.0\.1:\d+ \(process (\d+)\)\n")


def _command(report: Path, queries: int = QUERIES) -> list[str]:
    options = ["--node", NODE, "--documents", str(DOCUMENTS), "--queries", str(queries), "--report", str(report)]
    return [sys.executable, "-m", "rescorer_lab", "demo", *options]


@pytest.fixture(scope="module", autouse=True)
def _own_node() -> Iterator[None]:
    """A node that has never been used, and that leaves nothing behind."""
    folder = downloads.cache_folder() / "engines" / NODE
    engines.down(NODE, say=lambda line: None)
    shutil.rmtree(folder, ignore_errors=True)
    yield
    engines.down(NODE, say=lambda line: None)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, _own_node: None) -> tuple[int, str]:
    """Exit code and output of a demo that gets SIGINT at the first documents indexed."""
    report = tmp_path_factory.mktemp("interrupted") / "report.json"
    process = subprocess.Popen(_command(report), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            lines.append(line)
            if DONE.search(line) and len(DONE.findall("".join(lines))) == 1:
                process.send_signal(signal.SIGINT)
    assert not report.exists()
    return process.wait(timeout=60), "".join(lines)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, interrupted: tuple[int, str]) -> tuple[str, Path]:
    """Output and report path of the demo that goes on from there to its end."""
    report = tmp_path_factory.mktemp("whole") / "report.json"
    done = subprocess.run(_command(report), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, report


@pytest.fixture(scope="module")
def report(whole: tuple[str, Path]) -> Any:
    """The report that was written."""
    return json.loads(whole[1].read_text())


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_interruption_ends_in_one_line_and_leaves_nothing_running(interrupted: tuple[int, str]) -> None:
    """Ctrl-C while indexing: exit code 130, no traceback, engine and sidecar stopped."""
    code, out = interrupted
    assert code == 130
    assert "Traceback" not in out
    assert out.splitlines()[-1].startswith("interrupted; what the demo started is stopped")
    node, sidecar = engines.find(NODE), SIDECAR.search(out)
    assert node is not None
    assert sidecar is not None
    assert not node.is_alive
    assert not _is_alive(int(sidecar.group(1)))


def test_the_next_run_goes_on_where_the_interruption_was(interrupted: tuple[int, str], whole: tuple[str, Path]) -> None:
    """What was indexed before the interruption stays, and only the rest is embedded."""
    before, after = TO_DO.search(interrupted[1]), TO_DO.search(whole[0])
    assert before is not None
    assert after is not None
    assert int(before.group(1)) == DOCUMENTS
    assert 0 < int(after.group(1)) < DOCUMENTS


def test_the_path_of_the_report_is_the_last_line(whole: tuple[str, Path]) -> None:
    """A script finds the report by the last line of the output."""
    assert whole[0].splitlines()[-1] == str(whole[1])


def test_every_search_was_rescored_by_the_real_model(report: Any) -> None:
    """Four rescored searches for each query, all of them rescored, by the model that was asked for."""
    assert report["queries"] == QUERIES
    assert report["outcomes"] == {"reranked": 4 * QUERIES}
    assert report["model"]["name"] == "ms-marco-MiniLM-L-12-v2-int8"


def test_the_report_holds_all_figures(report: Any) -> None:
    """Each measure of each system lies between 0 and 1 and something was found; times are positive."""
    for measures in report["metrics"].values():
        assert set(measures) == {"nDCG@10", "MRR@10", "P@10"}
        assert all(0 < value <= 1 for value in measures.values())
    assert all(0 < value <= 1 for value in report["window_recall"].values())
    for part in ("first_stage", "scoring", "total"):
        assert 0 < report["latency_ms"][part]["p50"] <= report["latency_ms"][part]["p95"]


def test_three_queries_are_shown_and_the_fallback_too(whole: tuple[str, Path]) -> None:
    """Three tables and the worst query come first; at the end a search without a sidecar answers and says why."""
    out = whole[0]
    assert out.count("judged relevant:") == 3 + 1
    assert "10 hits, in first-stage order" in out
    assert '"status": "fallback", "reason": "scorer_unavailable"' in out


def test_the_next_time_nothing_is_embedded_and_the_figures_are_the_same(tmp_path: Path, report: Any) -> None:
    """Index and vectors are found as they were left; the same queries give the same figures."""
    again = tmp_path / "report.json"
    done = subprocess.run(_command(again), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    to_do = TO_DO.search(done.stdout)
    assert to_do is not None
    assert int(to_do.group(1)) == 0
    assert json.loads(again.read_text())["metrics"] == report["metrics"]
