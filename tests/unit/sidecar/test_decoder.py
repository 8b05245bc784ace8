"""Generative rerankers give transformers' logits, whoever else is in the batch, and run what rows share once."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescorer_sidecar.backends.decoder import (
    GROUP_TOKENS,
    LEAST_SAVED,
    MOST_FILLING,
    DecoderBackend,
    groups,
    shared_tokens,
)
from rescorer_sidecar.domain import Tokens
from rescorer_sidecar.errors import ConfigError
from unit.sidecar.random_decoders import FAMILIES, VOCABULARY, checkpoint, reference, rows

pytestmark = pytest.mark.slow

ANSWERS = {"qwen3": (17, 23), "qwen2": (40, 41), "gemma": (99,)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One random checkpoint of each family."""
    return {family: checkpoint(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(scope="module")
def backends(folders: dict[str, Path]) -> dict[str, DecoderBackend]:
    """The same, loaded in float32."""
    return {family: loaded(folder, ANSWERS[family]) for family, folder in folders.items()}


def loaded(folder: Path, answers: tuple[int, ...], precision: str = "fp32") -> DecoderBackend:
    """On the CPU."""
    return DecoderBackend(folder, answers, device="cpu", precision=precision)


def tokens_run(backend: DecoderBackend, batch: list[Tokens]) -> list[tuple[int, ...]]:
    """Shapes of all ids that the model's embedding sees in one forward."""
    seen: list[tuple[int, ...]] = []
    hook = backend._decoder.get_input_embeddings().register_forward_pre_hook(
        lambda _module, given: seen.append(tuple(given[0].shape))
    )
    try:
        backend.forward(batch)
    finally:
        hook.remove()
    return seen


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shared", [0, 20, 70])
def test_logits_are_those_of_transformers(
    folders: dict[str, Path], backends: dict[str, DecoderBackend], family: str, shared: int
) -> None:
    """From one token to 150, all in one batch, with and without a beginning that rows share: within 1e-4."""
    batch = rows([*range(max(1, shared), 151, 3)], shared)
    expected = reference(folders[family], batch, ANSWERS[family])
    assert expected.std() > 0.2, "scores that are all alike would prove nothing"
    found = backends[family].forward(batch)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    shared=st.integers(0, 40),
    seed=st.integers(0, 2**31),
)
def test_a_row_scores_the_same_in_every_company(
    backends: dict[str, DecoderBackend], family: str, lengths: list[int], shared: int, seed: int
) -> None:
    """Alone and in a shuffled batch of any lengths and any common beginning: within 1e-4."""
    batch = rows([shared + length for length in lengths], shared, seed)
    shuffled = random.Random(seed).sample(batch, len(batch))
    alone = np.concatenate([backends[family].forward([row]) for row in shuffled])
    assert np.abs(backends[family].forward(shuffled) - alone).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_keeps_the_order(folders: dict[str, Path], family: str) -> None:
    """In bf16 the logits correlate with those of float32 with 0.999 or more."""
    batch = rows([40 + 2 * number for number in range(48)], 30)
    found = loaded(folders[family], ANSWERS[family], "bf16").forward(batch)
    assert np.corrcoef(found, reference(folders[family], batch, ANSWERS[family]))[0, 1] >= 0.999


def test_a_shared_beginning_runs_once(backends: dict[str, DecoderBackend]) -> None:
    """Ten rows of 100 tokens with 80 in common: 80 tokens, then the ten ends of 20, and nothing more."""
    assert tokens_run(backends["qwen3"], rows([100] * 10, 80)) == [(1, 80), (10, 20)]


def test_equal_rows_share_all_but_their_last_token(backends: dict[str, DecoderBackend]) -> None:
    """Each row keeps one token to be answered from, so that equal rows score alike and cost next to nothing."""
    batch = rows([50], 50) * 4
    assert tokens_run(backends["qwen2"], batch) == [(1, 49), (4, 1)]
    assert np.ptp(backends["qwen2"].forward(batch)) == 0.0


def test_a_beginning_that_saves_little_is_not_run_apart(backends: dict[str, DecoderBackend]) -> None:
    """Nor is that of a single row."""
    assert tokens_run(backends["gemma"], rows([30, 30], LEAST_SAVED // 2)) == [(2, 30)]
    assert tokens_run(backends["gemma"], rows([300])) == [(1, 300)]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=90).map(tuple), min_size=1, max_size=9))
def test_shared_tokens_are_common_and_leave_one_of_each_row(ids: list[tuple[int, ...]]) -> None:
    """As many as all rows begin with, but one fewer than the shortest row has."""
    front = (1,) * 80
    for batch in (ids, [front + row for row in ids]):
        count = shared_tokens(batch)
        assert len({row[:count] for row in batch}) == 1
        assert count < min(map(len, batch))
        could = count + 1 < min(map(len, batch)) and len({row[: count + 1] for row in batch}) == 1
        assert not could or count == 0
    if len(ids) > 1:
        assert count >= 80


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=40))
def test_groups_are_bounded_and_hold_every_row_once(lengths: list[int]) -> None:
    """No group is filled up by more than it may be, nor holds more tokens than it may, unless it is one row."""
    made = groups(lengths)
    assert sorted(place for group in made for place in group) == list(range(len(lengths)))
    for group in made:
        of = [lengths[place] for place in group]
        assert of == sorted(of, reverse=True)
        assert len(of) * of[0] - sum(of) <= MOST_FILLING
        assert len(of) == 1 or len(of) * of[0] <= GROUP_TOKENS


def test_rows_of_like_length_run_together() -> None:
    """A hundred rows of one length are one group; two lengths far apart are two."""
    assert groups([20] * 100) == [list(range(100))]
    assert groups([20, 200, 20, 200]) == [[1, 3], [0, 2]]


def test_windows_of_attention_are_not_cut_by_sharing(tmp_path: Path) -> None:
    """A model whose layers look back over a window, shorter than what is shared, scores as transformers does."""
    windowed = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
    folder = checkpoint(tmp_path, "qwen2", **windowed)
    batch = rows([60, 75, 90, 120], 50)
    backend = loaded(folder, (3, 4))
    assert tokens_run(backend, batch)[0] == (1, 50)
    assert np.abs(backend.forward(batch) - reference(folder, batch, (3, 4))).max() < 1e-4


def test_a_checkpoint_in_bf16_runs_in_float32_on_the_cpu(tmp_path: Path) -> None:
    """``auto`` on the CPU is fp32, however the weights are stored."""
    folder = checkpoint(tmp_path, "qwen3", dtype="bfloat16")
    backend = DecoderBackend(folder, (5, 6), device="cpu", precision="auto")
    batch = rows([30, 40, 50])
    assert backend.facts.precision == "fp32"
    assert np.abs(backend.forward(batch) - reference(folder, batch, (5, 6))).max() < 1e-4


def test_tied_embeddings_are_read_as_the_head(tmp_path: Path) -> None:
    """Small Qwen models store one table for words and answers."""
    folder = checkpoint(tmp_path, "qwen3", tie_word_embeddings=True)
    batch = rows([30, 31])
    assert np.abs(loaded(folder, (7, 8)).forward(batch) - reference(folder, batch, (7, 8))).max() < 1e-4


@pytest.mark.parametrize("ids", [(), (VOCABULARY,), (1, -1)])
def test_rows_that_no_table_holds_are_refused(backends: dict[str, DecoderBackend], ids: tuple[int, ...]) -> None:
    """Without tokens, or with an id that the model doesn't know: on CUDA that would spoil the process."""
    with pytest.raises(ValueError, match=r"a row has no tokens|the model knows 500"):
        backends["qwen3"].forward([Tokens(ids=ids, type_ids=(0,) * len(ids)), *rows([5])])


def test_a_checkpoint_that_lacks_a_layer_is_refused(tmp_path: Path) -> None:
    """Transformers would fill it with random numbers."""
    from safetensors.torch import load_file, save_file

    path = checkpoint(tmp_path, "qwen3") / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks model\.layers\.1\.mlp\.up_proj\.weight"):
        loaded(tmp_path, (1, 2))


def test_an_answer_beyond_the_vocabulary_is_refused(folders: dict[str, Path]) -> None:
    """The tokenizer belongs to another model then."""
    with pytest.raises(ConfigError, match=r"id 900, but the model knows 500 tokens; give the tokenizer\.json"):
        loaded(folders["qwen3"], (3, 900))


def test_a_folder_without_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    """A half-downloaded folder."""
    (checkpoint(tmp_path, "gemma") / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="can't be loaded by transformers") as refused:
        loaded(tmp_path, (1,))
    assert "\n" not in str(refused.value)


def test_several_threads_may_forward_at_once(backends: dict[str, DecoderBackend]) -> None:
    """Eight threads over different batches get what one alone gets."""
    from concurrent.futures import ThreadPoolExecutor

    batches = [rows([30 + 5 * number, 60, 45], 25, seed=number) for number in range(16)]
    expected = [backends["qwen3"].forward(batch) for batch in batches]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(backends["qwen3"].forward, batches))
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 1e-5
