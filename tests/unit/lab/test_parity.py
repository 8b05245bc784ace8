"""Checking and measuring a model: what passes, what does not, and what the commands print and keep."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.backends.tiny_models import write_onnx, write_torch
from rescorer_lab import cli, model_speed, parity
from rescorer_lab.errors import LabError
from rescorer_sidecar import costs, folders
from rescorer_sidecar.prompts import GOLDEN
from rescorer_sidecar.testing import write_tokeniser
from rescorer_sidecar.tokenise import Tokeniser
from unit.sidecar import random_decoders, random_encoders

LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=20, max_size=20)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny cross-encoder, and a cache of the test's own."""
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path / "cache"))
    return write_torch(tmp_path / "tiny")


@given(logits=LOGITS)
def test_equal_logits_always_hold(logits: list[float]) -> None:
    """Nothing differs from itself, in any precision, constant scores too."""
    found = np.array(logits, dtype=np.float32)
    for precision in parity.PEARSON:
        same = parity.compared(found, found, precision, 10)
        assert (same.holds, same.worst, same.swapped, same.compared) == (True, 0.0, 0, 90)


@given(logits=LOGITS, place=st.integers(0, 19), off=st.floats(0.01, 5))
def test_one_logit_off_never_holds_in_fp32(logits: list[float], place: int, off: float) -> None:
    """fp32 allows a ten-thousandth of the largest logit and no more, wherever it is."""
    expected = np.array(logits, dtype=np.float32)
    found = expected.copy()
    found[place] += off
    assert not parity.compared(found, expected, "fp32", 10).holds


@given(logits=LOGITS, place=st.integers(0, 19))
def test_nan_never_holds(logits: list[float], place: int) -> None:
    """A score that is no number is no parity, in any precision."""
    expected = np.array(logits, dtype=np.float32)
    found = expected.copy()
    found[place] = np.nan
    assert not any(parity.compared(found, expected, precision, 10).holds for precision in parity.PEARSON)


def test_half_precision_may_move_and_not_turn() -> None:
    """bf16 holds with logits a little off, and not where the order has nothing left of it."""
    expected = np.linspace(-10, 10, 20, dtype=np.float32)
    near = expected + np.where(np.arange(20) % 2, 0.03, -0.03).astype(np.float32)
    assert parity.compared(near, expected, "bf16", 10).holds
    assert not parity.compared(near, expected, "fp32", 10).holds
    turned = parity.compared(-expected, expected, "bf16", 10)
    assert (turned.holds, turned.swapped) == (False, 90)


def test_the_pairs_have_all_lengths() -> None:
    """A few dozen pairs from one word to more than most limits, and each query's answer is among its texts."""
    asked = parity.pairs()
    assert len(asked) == len(GOLDEN) * len(parity.WORDS) == len(set(asked))
    assert [len(text.split()) for _, text in asked[: len(parity.WORDS)]] == list(parity.WORDS)
    assert all(any(answer in text for asked_query, text in asked if asked_query == query) for query, answer in GOLDEN)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "runs"), [("native", "native"), ("torch", "torch-packed")])
def test_a_sound_model_passes_the_check(
    folder: Path, backend: str, runs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through transformers' own tokenizer and model: the same logits, exit code 0, and what was compared is told."""
    assert cli.run(["models", "check", str(folder), "--precision", "fp32", "--backend", backend]) == 0
    out = capsys.readouterr().out
    assert f"tiny: {runs} fp32 beside transformers fp32" in out
    assert "40 pairs of " in out
    assert "passed" in out


@pytest.mark.slow
def test_another_models_weights_fail_the_check(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compared with a model of other weights, the exit code is 1."""
    other = write_torch(tmp_path / "other", seed=1)
    assert cli.run(["models", "check", str(folder), "--precision", "fp32", "--against", str(other)]) == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.slow
def test_an_onnx_file_alone_cannot_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """transformers can't load it; one line says so."""
    made = write_onnx(tmp_path / "tiny")
    assert cli.run(["models", "check", str(made)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "can't be loaded by transformers, to compare with" in line


@pytest.mark.slow
@pytest.mark.parametrize("family", random_decoders.FAMILIES)
def test_generative_rerankers_are_compared_by_their_answers(tmp_path: Path, family: str) -> None:
    """What they are compared with is transformers' own last logits, which our backend gives too."""
    from rescorer_sidecar.backends import reference
    from rescorer_sidecar.backends.decoder import DecoderBackend

    made = random_decoders.checkpoint(tmp_path, family)
    answers = (99,) if family == "gemma" else (17, 23)
    rows = random_decoders.rows([5, 30, 31, 90])
    told: list[None] = []
    expected = reference.answered(made, rows, answers, lambda: told.append(None))
    found = DecoderBackend(made, answers, device="cpu", precision="fp32").forward(rows)
    assert (len(told), found) == (4, pytest.approx(expected, abs=1e-4))


@pytest.mark.slow
@pytest.mark.parametrize("labels", [0, 1])
def test_a_prompt_is_part_of_what_is_compared(tmp_path: Path, labels: int) -> None:
    """A generative reranker, and a classifier made of one, are checked in the words that the sidecar asks them in."""
    prompt = random_decoders.FAMILIES["qwen3"]
    made = random_decoders.tokenizer(random_decoders.checkpoint(tmp_path, "qwen3", pad_token_id=0), prompt)
    asked = Tokeniser(tmp_path, prompt)
    rows = [asked.pairs(query, [text for _, text in GOLDEN], 512) for query, _ in GOLDEN]
    if labels:
        random_decoders.made_classifier(tmp_path, rows, labels)
    else:
        random_decoders.teach_golden(tmp_path, rows, made.token_to_id(prompt.relevant))
    found = parity.check(tmp_path, "torch", "fp32", lambda: None)
    assert found.holds
    assert found.backend == ("torch" if labels else "torch-decoder")


@given(fixed_ms=st.floats(0.1, 100), us_per_token=st.floats(1, 1000))
def test_a_line_is_found_again(fixed_ms: float, us_per_token: float) -> None:
    """Times that lie on a line give that line."""
    tokens = [100, 1_000, 10_000]
    times_ms = [fixed_ms + count * us_per_token / 1000 for count in tokens]
    assert model_speed.line(times_ms, tokens) == pytest.approx((fixed_ms, us_per_token), rel=1e-3, abs=1e-3)


@given(times_ms=st.lists(st.floats(0.1, 1e5), min_size=3, max_size=3))
def test_no_times_cost_less_than_nothing(times_ms: list[float]) -> None:
    """Whatever was measured, neither part of the cost is negative."""
    assert min(model_speed.line(times_ms, [100, 1_000, 10_000])) >= 0


def test_work_is_counted_as_the_benchmarks_count_it(tmp_path: Path) -> None:
    """BERT with an inner width of 4d: 24·d² operations a token and layer, and 4·L²·d for attention."""
    made = random_encoders.checkpoint(tmp_path, "bert", (64, 2, 256))
    assert model_speed.work_flop(made, [10, 30]) == 3 * (40 * 24 * 64**2 + (100 + 900) * 4 * 64)


def test_work_of_a_family_that_is_not_described_is_not_known(tmp_path: Path) -> None:
    """An ONNX file alone tells no sizes."""
    assert model_speed.work_flop(write_onnx(tmp_path), [10]) is None


@pytest.mark.slow
def test_the_bench_prints_and_keeps_what_it_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real sidecar on a tiny model: every figure is told, and the cost lies beside the model for this very model."""
    assert cli.run(["models", "bench", str(folder), "--rounds", "1", "--precision", "fp32"]) == 0
    out = capsys.readouterr().out
    for part in ("pairs/s", "tokens/s", "1 pair ", "10 pairs ", "100 pairs ", "share of the chip's limit: ", " MB"):
        assert part in out
    (kept,) = json.loads((folder / costs.FILE).read_text())["costs"]
    assert (kept["digest"], kept["machine"]) == (folders.digest(folder), costs.machine())
    assert (kept["backend"], kept["precision"], kept["device"]) == ("native", "fp32", "cpu")
    assert kept["us_per_token"] > 0


@pytest.mark.slow
def test_a_model_that_does_not_load_is_one_line_of_the_bench(tmp_path: Path) -> None:
    """The sidecar's own reason is the lab's."""
    with pytest.raises(LabError, match=r"the sidecar did not come up: .*holds neither"):
        model_speed.measure(write_tokeniser(tmp_path), [], 1, lambda _: None)


@pytest.mark.parametrize("command", ["check", "bench"])
def test_an_unknown_model_is_one_line(folder: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither ours, nor a folder, nor a hub name."""
    assert cli.run(["models", command, "nowhere"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error model nowhere: no such folder, and no hub name (owner/name); "
        "fetched models: none yet; see rescorer models list"
    ]
