"""docs/judgments.md is run: its commands in a folder with the files that they name, its Python as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rescorer_lab import cli, inputs
from shape.source import ROOT
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
