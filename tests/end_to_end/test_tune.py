"""``rescorer tune`` on a real engine: what it derives and writes is what the client then does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from end_to_end.judged_index import SCORER, files_of, index_of
from rescorer import templates
from rescorer.testing import FakeScorer
from rescorer_lab import cli
from unit.lab.demo_data import small_collection

COLLECTION = small_collection(60)
INDEX = "judged-tuned"
pytestmark = pytest.mark.engine


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.run(list(words)) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("engine", ["opensearch", "elasticsearch"])
def test_what_is_tuned_is_what_the_client_then_does(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """E4: the tuned profile, in the index, measures under ``evaluate`` as it was derived; again, it says the same."""
    url = request.getfixturevalue(f"{engine}_url")
    asked = [*files_of(COLLECTION, tmp_path), "--engine-url", url, "--scorer", SCORER, "--depth", "20"]
    with index_of(url, INDEX, COLLECTION) as client:
        said = _run(capsys, "tune", INDEX, *asked, "--out", str(tmp_path / "t"))
        assert said == _without_rates(said, _run(capsys, "tune", INDEX, *asked, "--out", str(tmp_path / "t")))
        report = json.loads((tmp_path / "t" / "report.json").read_text())
        (template,) = templates.read(tmp_path / "t" / "templates")
        tuned = template.body["template"]["mappings"]["_meta"]["rescorer"]
        client.indices.put_mapping(index=INDEX, body={"_meta": {"rescorer": tuned}})
        system = "hybrid+rescore" if tuned.get("enabled", True) else "hybrid"
        _run(capsys, "evaluate", INDEX, *asked, "--system", system, "--out", str(tmp_path / "e"))
    per_topic = json.loads((tmp_path / "e" / "report.json").read_text())["per_topic"][system]
    chosen, halves = report["chosen"], report["topics"]
    expected = chosen["nDCG@10"] * halves["tuning"] + chosen["nDCG@10 of the others"] * halves["reported_on"]
    assert sum(row["nDCG@10"] for row in per_topic.values()) == pytest.approx(expected, abs=1e-3)


def test_without_an_embedder_the_choice_is_made_among_bm25(
    opensearch_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--first-stage bm25`` asks for no vector, though the profile has a hybrid form; judgments' notes are told."""
    asked = [*files_of(COLLECTION, tmp_path), "--engine-url", opensearch_url, "--scorer", SCORER, "--depth", "20"]
    with (tmp_path / "topics.jsonl").open("a") as topics:
        topics.write('\n{"_id": "q999", "text": "nobody judged me"}')
    with index_of(opensearch_url, INDEX, COLLECTION):
        monkeypatch.setattr(FakeScorer, "embed", None)
        said = _run(capsys, "tune", INDEX, *asked, "--first-stage", "bm25", "--out", str(tmp_path / "t"))
    assert "1 of 61 topics are judged by nobody" in said
    report = json.loads((tmp_path / "t" / "report.json").read_text())
    assert not [one for one in report["looked_at"] if not one["settings"].startswith("bm25")]
    assert len(report["warnings"]) == 1


def _without_rates(first: str, again: str) -> str:
    """The first text where both say the same from the tables on, save how long deriving took."""
    cut = [text[text.index("front of quality") :].split(" scored pairs in ") for text in (first, again)]
    same = [(before, rest.partition(" s. ")[2]) for before, rest in cut]
    return first if same[0] == same[1] else again
