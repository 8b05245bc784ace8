"""``rescorer calibrate`` finds the curve that is there, says how well it holds, and calls nothing what it is not."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from rescorer import config, profile
from rescorer.calibration import Isotonic, Platt
from rescorer_lab import calibrate, cli, reliability
from rescorer_lab.calibrate import Pairs
from rescorer_lab.errors import LabError
from rescorer_lab.inputs import runs
from rescorer_lab.inputs.qrels import Qrels
from rescorer_lab.inputs.runs import Run

Chance = Callable[[float], float]


def sigmoid(power: float) -> float:
    """1 / (1 + exp(-power))."""
    return 1 / (1 + math.exp(-power))


def drawn(chance: Chance, topics: int = 120, documents: int = 40, seed: int = 7) -> tuple[Run, Qrels]:
    """Logits, and judgments that are relevant by this chance."""
    dice = random.Random(seed)
    run: Run = {}
    qrels: Qrels = {}
    for number in range(topics):
        logits = {f"d{place}": dice.gauss(-2, 3) for place in range(documents)}
        run[f"q{number}"] = dict(sorted(logits.items(), key=lambda entry: -entry[1]))
        qrels[f"q{number}"] = {name: int(dice.random() < chance(logit)) for name, logit in logits.items()}
    return run, qrels


def judged(chance: Chance, **sizes: int) -> Pairs:
    """The same as pairs."""
    return calibrate.pairs(*drawn(chance, **sizes), relevant=1, depth=100, unjudged_count=False)


def steps(logit: float) -> float:
    """A curve that no sigmoid follows: level at 0.1, then at 0.9."""
    return 0.1 if logit < 0 else 0.9


def test_the_curve_that_made_the_judgments_is_found() -> None:
    """A sigmoid of a line is fitted as one, the held-out half bears it out, and it beats the plain sigmoid."""
    found = calibrate.fitted(judged(lambda logit: sigmoid(0.7 * logit - 1)), "best", "m")
    assert isinstance(found.curve, Platt)
    assert found.curve.slope == pytest.approx(0.7, abs=0.06)
    assert found.curve.intercept == pytest.approx(-1, abs=0.15)
    assert (found.curve.model, found.curve.is_probability, found.doubts) == ("m", True, ())
    assert found.calibrated.error < 0.03 < found.sigmoid.error
    assert found.fitted_pairs == found.calibrated.pairs == 60 * 40
    assert found.calibrated.brier < found.sigmoid.brier


def test_a_curve_of_another_form_is_found_by_steps() -> None:
    """Where no sigmoid fits, the isotonic one is taken, and holds."""
    found = calibrate.fitted(judged(steps), "best", "")
    assert isinstance(found.curve, Isotonic)
    assert found.curve.value(-3.0) == pytest.approx(0.1, abs=0.06)
    assert found.curve.value(3.0) == pytest.approx(0.9, abs=0.06)
    assert found.curve.is_probability


def test_a_form_that_does_not_fit_is_called_no_probability() -> None:
    """S4: asked for Platt's curve, the held-out half says that it is off, and so does the verdict."""
    found = calibrate.fitted(judged(steps), "platt", "")
    assert not found.curve.is_probability
    assert any("more than" in doubt for doubt in found.doubts)


def test_too_few_judgments_bear_nothing_out() -> None:
    """The interval over topics is wide then, whatever the curve."""
    found = calibrate.fitted(judged(lambda logit: sigmoid(0.7 * logit), topics=24, documents=8), "platt", "")
    assert found.calibrated.error_high > calibrate.MOST_ERROR
    assert not found.curve.is_probability


def test_scores_that_say_nothing_are_no_probabilities() -> None:
    """The share alone is well calibrated and useless: skill is what it lacks."""
    dice = random.Random(3)
    pairs = Pairs(
        np.repeat(np.arange(200), 20),
        np.array([dice.gauss(0, 1) for _ in range(4000)]),
        np.array([float(dice.random() < 0.3) for _ in range(4000)]),
    )
    told = calibrate.figures(np.full(4000, 0.3), pairs, 0.3)
    assert told.error < calibrate.MOST_ERROR
    assert calibrate._doubts(told, 1200)[-1] == "it may tell no more than the share of relevant pairs alone"


def test_a_bin_that_is_far_off_is_a_doubt_though_few_pairs_are_in_it() -> None:
    """The mean error is small where most pairs are, and ``min_score`` cuts where few are."""
    scores, labels = np.repeat([0.05, 0.95], [9500, 100]), np.zeros(9600)
    labels[:475] = labels[9500:9550] = 1.0
    told = calibrate.figures(scores, Pairs(np.arange(9600) % 300, scores, labels), float(labels.mean()))
    assert told.error_high < calibrate.MOST_ERROR
    assert "a bin is off by 0.450, more than 0.15" in calibrate._doubts(told, 525)


def test_a_handful_of_relevant_pairs_bears_nothing_out() -> None:
    """However small the error is that they show."""
    found = calibrate.fitted(judged(lambda logit: sigmoid(0.7 * logit - 4)), "platt", "")
    few = int(found.calibrated.pairs * 0.02)
    assert (
        calibrate._doubts(found.calibrated, few)[0] == f"the held-out half has {few} relevant pairs, and 100 are needed"
    )


def test_what_is_measured_was_not_fitted() -> None:
    """Of 121 topics 61 are fitted, and the figures are those of the other 60."""
    found = calibrate.fitted(judged(sigmoid, topics=121), "platt", "")
    assert (found.fitted_pairs, found.calibrated.pairs) == (61 * 40, 60 * 40)


def test_figures_are_those_of_the_definitions() -> None:
    """Brier as scikit-learn has it; the calibration error by hand: two bins, 0.1 off with 3 of 5 and 0.2 with 2."""
    from sklearn.metrics import brier_score_loss

    scores, labels = np.array([0.25, 0.25, 0.25, 0.75, 0.75]), np.array([0.0, 0.0, 1.0, 1.0, 1.0])
    found = calibrate.figures(scores, Pairs(np.array([0, 0, 1, 1, 1]), scores, labels), 0.6)
    assert found.brier == pytest.approx(brier_score_loss(labels, scores))
    assert found.error == pytest.approx((3 * abs(1 / 3 - 0.25) + 2 * 0.25) / 5)
    assert found.skill == pytest.approx(1 - found.brier / brier_score_loss(labels, np.full(5, 0.6)))
    assert [None if entry is None else entry.pairs for entry in found.bins] == [None] * 2 + [3] + [None] * 4 + [
        2,
        None,
        None,
    ]
    assert found.error_low <= found.error <= found.error_high


def test_no_topic_is_in_both_halves_and_the_same_file_gives_the_same_halves() -> None:
    """A half is chosen by the topic's id: neither its place in the file nor its other pairs matter."""
    run, qrels = drawn(lambda logit: 0.5, topics=30)
    backwards = dict(reversed(run.items()))
    one, other = (
        calibrate.pairs(lists, qrels, relevant=1, depth=100, unjudged_count=False) for lists in (run, backwards)
    )
    assert sorted(one.of_half(0).logits.tolist()) == sorted(other.of_half(0).logits.tolist())
    assert len(np.unique(one.of_half(0).topics)) == len(np.unique(one.of_half(1).topics)) == 15
    assert not set(one.of_half(0).logits.tolist()) & set(one.of_half(1).logits.tolist())


def test_pairs_that_nobody_judged_are_left_out_and_counted_or_count_as_not_relevant() -> None:
    """Never silently the one or the other; the depth and the grade that counts are kept to."""
    run: Run = {"q": {"a": 3.0, "b": 2.0, "c": -1.0, "d": -5.0}}
    qrels: Qrels = {"q": {"a": 2, "c": 1, "d": 2}}
    left_out = calibrate.pairs(run, qrels, relevant=2, depth=3, unjudged_count=False)
    assert (left_out.logits.tolist(), left_out.relevant.tolist(), left_out.unjudged) == ([3.0, -1.0], [1.0, 0.0], 1)
    counted = calibrate.pairs(run, qrels, relevant=2, depth=3, unjudged_count=True)
    assert counted.relevant.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("chance", "sizes", "message"),
    [
        (lambda logit: 0.5, {"topics": 15}, "a half has 8 topics, and 10 are needed"),
        (lambda logit: 1.0, {}, "0 pairs that are not relevant, and 10 are needed; judge more; where only relevant"),
        (lambda logit: 0.0, {}, "0 relevant pairs, and 10 are needed"),
        (lambda logit: sigmoid(-2 * logit), {}, "the scores do not rise with relevance"),
    ],
)
def test_what_can_not_be_fitted_is_refused_with_its_mend(chance: Chance, sizes: Any, message: str) -> None:
    """Too few topics, one kind of pairs alone, or scores that fall with relevance."""
    with pytest.raises(LabError) as refused:
        calibrate.fitted(judged(chance, **sizes), "platt", "")
    assert message in str(refused.value)


def test_scores_that_were_squashed_already_are_refused() -> None:
    """A curve is fitted to logits: what lies in 0 … 1 throughout is none."""
    run: Run = {"q": {"a": 0.9, "b": 0.1}}
    with pytest.raises(LabError, match="all lie in 0 … 1"):
        calibrate.pairs(run, {"q": {"a": 1, "b": 0}}, relevant=1, depth=10, unjudged_count=False)


def test_a_run_of_another_collection_is_refused() -> None:
    """No document of it is judged."""
    with pytest.raises(LabError, match="no judged document"):
        calibrate.pairs({"q": {"a": 3.0}}, {"q": {"b": 1}}, relevant=1, depth=10, unjudged_count=False)


def written(folder: Path, chance: Chance) -> list[str]:
    """A run and judgments as files, and the command line for them."""
    run, qrels = drawn(chance)
    runs.write(folder / "run.trec", run, "model")
    lines = [f"{topic}\t{name}\t{grade}" for topic, found in qrels.items() for name, grade in found.items()]
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines) + "\n", encoding="utf-8")
    out = str(folder / "out")
    return ["calibrate", str(folder / "run.trec"), "--qrels", str(folder / "qrels.tsv"), "--out", out, "--model", "m"]


def test_the_command_writes_what_a_profile_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file's curve is read by the client as it stands; the terminal says what the held-out half says."""
    assert cli.run(written(tmp_path, lambda logit: sigmoid(logit - 1))) == 0
    told = capsys.readouterr().out
    assert "these scores are probabilities" in told
    report = json.loads((tmp_path / "out" / "calibration.json").read_text())
    curve = config.merged(profile.read({"calibration": report["calibration"]}).rescore).calibration
    assert curve is not None
    assert (curve.model, curve.is_probability) == ("m", True)
    assert json.loads(told[told.index('{"calibration"') :]) == {"calibration": report["calibration"]}
    assert report["calibrated"]["error"] <= report["calibrated"]["error_high"] <= calibrate.MOST_ERROR


def test_the_command_says_no_where_the_answer_is_no(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reasons stand in the terminal and in the file, and the curve does not bear the name."""
    assert cli.run([*written(tmp_path, steps), "--method", "platt"]) == 0
    assert "these scores are no probabilities: " in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert report["calibration"]["is_probability"] is False
    assert report["doubts"]


def test_the_plot_is_an_svg_that_shows_each_bin(tmp_path: Path) -> None:
    """One dot for each bin that holds pairs, for both curves; a name is escaped."""
    found = calibrate.fitted(judged(sigmoid), "best", "")
    path = reliability.write(tmp_path / "a.svg", {"<b>": found.calibrated, "plain": found.sigmoid}, "half & half")
    root = ElementTree.fromstring(path.read_text())  # noqa: S314  # our own
    filled = sum(entry is not None for figures in (found.calibrated, found.sigmoid) for entry in figures.bins)
    assert len(root.findall(".//{http://www.w3.org/2000/svg}circle")) == filled + 2
