"""The native forward pass against transformers, on random checkpoints of every described family."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescorer_sidecar.backends.native import NativeBackend, build
from rescorer_sidecar.backends.native.kernels import PRECISIONS
from rescorer_sidecar.domain import Tokens
from rescorer_sidecar.errors import ConfigError, NoCompiler
from unit.sidecar.random_encoders import (
    FAMILIES,
    LONGEST,
    SHAPES,
    VOCABULARY,
    alone_and_together,
    checkpoint,
    correlation,
    largest_error,
    reference,
    rows,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[(family, name) for family in FAMILIES for name in SHAPES])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each family and shape."""
    family, name = request.param
    return checkpoint(tmp_path_factory.mktemp("model"), family, SHAPES[name])


def test_fp32_is_transformers_at_every_length(folder: Path) -> None:
    """Logits equal those of transformers within 1e-4 from one token to the limit, all in one batch."""
    assert largest_error(NativeBackend(folder, None, precision="fp32"), folder) < 1e-4


@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.999), ("int8", 0.99)])
def test_less_precision_ranks_nearly_alike(folder: Path, precision: str, least: float) -> None:
    """bf16 correlates with fp32 by 0.999 at least; int8 by 0.99 even on random weights."""
    if not build.library().rescorer_supports(PRECISIONS[precision]):
        pytest.skip(f"this processor has no {precision}")
    assert correlation(NativeBackend(folder, None, precision=precision), folder) >= least


@pytest.fixture(scope="module", params=["bert", "modernbert"])
def backends(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[NativeBackend]:
    """One checkpoint of each kind of layer in every precision that this processor has."""
    made = checkpoint(tmp_path_factory.mktemp("model"), request.param, SHAPES["heads of 32"])
    able = [name for name, code in PRECISIONS.items() if build.library().rescorer_supports(code)]
    return [NativeBackend(made, None, precision=name) for name in able]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, LONGEST), min_size=1, max_size=30), dice=st.randoms(use_true_random=False))
def test_a_score_does_not_depend_on_its_batch(
    backends: list[NativeBackend], lengths: list[int], dice: random.Random
) -> None:
    """Whatever stands beside it and in whatever order, a row has bit for bit the score that it has alone."""
    for backend in backends:
        alone, together = alone_and_together(backend, lengths, "bert", dice)
        assert (alone == together).all()


def test_two_labels_are_one_difference(tmp_path: Path) -> None:
    """A two-label checkpoint's logit is relevant minus not relevant."""
    made = checkpoint(tmp_path, "xlm-roberta", SHAPES["heads of 32"], labels=2)
    batch = rows([5, 30], "xlm-roberta")
    logits = reference(made, batch)
    expected = logits[:, 1] - logits[:, 0]
    assert NativeBackend(made, None, precision="fp32").forward(batch) == pytest.approx(expected, abs=1e-4)


def test_a_family_of_one_segment_reads_every_segment_number_as_that(tmp_path: Path) -> None:
    """A tokenizer may number the text's segment 1 where the model knows one only, as transformers lets it."""
    backend = NativeBackend(checkpoint(tmp_path, "xlm-roberta", SHAPES["heads of 32"]), None, precision="fp32")
    numbered = Tokens(ids=(5, 6, 7), type_ids=(0, 1, 1))
    assert backend.forward([numbered]) == backend.forward([Tokens(ids=(5, 6, 7), type_ids=(0, 0, 0))])


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (Tokens(ids=(VOCABULARY,), type_ids=(0,)), "token"),
        (Tokens(ids=(5,), type_ids=(7,)), "type"),
        (Tokens(ids=(), type_ids=()), "length"),
        (Tokens(ids=(5,) * (LONGEST + 10), type_ids=(0,) * (LONGEST + 10)), "length"),
    ],
)
def test_what_no_table_holds_is_refused(tmp_path: Path, row: Tokens, what: str) -> None:
    """An id, a type or a length outside the model's tables is an error by name, never memory read beyond them."""
    backend = NativeBackend(checkpoint(tmp_path, "bert", SHAPES["heads of 8, odd sizes"]), None, precision="fp32")
    with pytest.raises(ValueError, match=f"a {what} of"):
        backend.forward([row])


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiler says first comes with what to do about it, and nothing half made stays behind."""
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "cc -no-such-flag")
    with pytest.raises(NoCompiler, match=r"no-such-flag.*apt-get install gcc"):
        build.library()
    assert not list((tmp_path / "native").iterdir())


def test_a_precision_that_the_processor_lacks_is_refused(tmp_path: Path) -> None:
    """fp16 is none of the native precisions: the error lists those that there are."""
    made = checkpoint(tmp_path, "bert", SHAPES["heads of 32"])
    with pytest.raises(ConfigError, match="precision fp16: backend native has fp32"):
        NativeBackend(made, None, precision="fp16")


def test_tiles_compute_what_vectors_compute(tmp_path: Path) -> None:
    """AMX's path, on tiles made of plain C, gives the products that the vector path gives; also where none is whole."""
    if not all(build.library().rescorer_supports(code) for code in PRECISIONS.values()):
        pytest.skip("this processor lacks what the tiles are compared with")
    program = tmp_path / "tiles"
    here = Path(__file__).with_name("tiles.c")
    subprocess.run(
        ["cc", "-O2", "-march=native", "-std=gnu11", "-w", f"-I{build.HERE}", "-o", str(program), str(here), "-lm"],
        check=True,
    )
    said = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == ["int8: the same", "bf16: the same within rounding"]


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_a_forward_by_tiles_is_a_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """All of AMX's path, with every operand laid out for tiles of plain C, ranks as transformers does."""
    if not all(build.library().rescorer_supports(code) for code in PRECISIONS.values()):
        pytest.skip("this processor lacks what stands beside the tiles")
    made = checkpoint(tmp_path / "model", family, SHAPES["heads of 32"])
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", f"cc -w -include {Path(__file__).with_name('emulated_tiles.h')}")
    assert build.library().rescorer_instructions() == b"AMX"
    for precision, least in (("bf16", 0.999), ("int8", 0.99)):
        assert correlation(NativeBackend(made, None, precision=precision), made, tuple(range(1, LONGEST, 5))) >= least
