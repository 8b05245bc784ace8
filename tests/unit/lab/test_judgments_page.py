"""docs/judgments.md is run: its commands in a folder with the files that they name, its Python as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rescorer_lab import cli, inputs
from shape.source import ROOT
from unit.lab import chat_server
from unit.lab import simulated_clicks as simulated

PAGE = (ROOT / "docs" / "judgments.md").read_text()
COMMANDS = re.findall(r"^rescorer .*$", PAGE, re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a click log in both forms, to stand in."""
    monkeypatch.chdir(tmp_path)
    log = simulated.clicks(simulated.taste(), answers=10)
    simulated.write_ubi(log, tmp_path)
    rows = (
        f"{answer},{log.pairs[pair][0]},{log.pairs[pair][1]},{rank},{int(click)}\n"
        for answer, pair, rank, click in zip(log.answer, log.pair, log.rank, log.clicked, strict=True)
    )
    (tmp_path / "clicks.csv").write_text("answer,query,doc_id,rank,clicked\n" + "".join(rows))
    return tmp_path


@pytest.mark.parametrize("command", [line for line in COMMANDS if " clicks " in line])
def test_commands_about_clicks_write_a_collection(command: str, here: Path) -> None:
    """Each does what the page says: afterwards the folder it names is read as a collection."""
    words = shlex.split(command)[1:]
    assert cli.run(words) == 0
    assert len(inputs.judged(collection=here / words[2]).topics) == simulated.QUERIES


def test_commands_about_a_language_model_judge_and_compare(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With an endpoint that answers in the place of the one that is named, judgments are written and compared."""
    (here / "topics.tsv").write_text("1\ta\n2\tb\n")
    (here / "corpus.jsonl").write_text('{"_id": "c", "text": "good"}\n{"_id": "d", "text": "bad"}\n')
    (here / "human.qrels").write_text("1 0 c 2\n1 0 d 0\n")
    for name in ("bm25", "hybrid"):
        (here / f"{name}.run").write_text(f"1 Q0 c 1 2 {name}\n2 Q0 d 1 2 {name}\n")
    judging, comparing = (line for line in COMMANDS if " clicks " not in line)
    with chat_server.running(lambda asked: "2" if "good" in asked else "0") as server:
        assert cli.run(shlex.split(judging.replace("http://localhost:8000/v1", server.url))[1:]) == 0
    assert inputs.judged(collection=here / "judged").qrels == {"1": {"c": 2}, "2": {"d": 0}}
    assert cli.run(shlex.split(comparing)[1:]) == 0
    assert capsys.readouterr().out.count("that both judged") == 2


def test_python_of_the_page_runs(here: Path) -> None:
    """Each line that reads what a machine has without a network gives what the last line names."""
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (here / "scifact" / "qrels").mkdir(parents=True)
    (here / "scifact" / "queries.jsonl").write_text('{"_id": "1", "text": "a"}\n')
    (here / "scifact" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\td\t1\n")
    (here / "topics.txt").write_text("1\ta\n")
    (here / "mine.qrels").write_text("1 0 d 1\n")
    names: dict[str, object] = {}
    exec("\n".join(line for line in block.splitlines() if "ir_datasets:" not in line), names)  # noqa: S102
    assert isinstance(names["found"], inputs.Judged)
    assert names["found"].qrels == {"1": {"d": 1}}
