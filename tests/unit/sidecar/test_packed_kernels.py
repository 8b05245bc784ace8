"""What a GPU computes in one pass, tried without one: by Triton's interpreter, and by torch's own CPU operators."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")

from rescorer_sidecar.backends import packed_linear  # noqa: E402
from rescorer_sidecar.backends.encoder import Linear  # noqa: E402

INTERPRETED = """
import torch
from rescorer_sidecar.backends.packed_norm import Norm
from rescorer_sidecar.backends.packed_triton import added
torch.manual_seed(0)
for width in (24, 384, 768, 1100, 2500):
    norm = Norm(torch.rand(width), torch.randn(width), 1e-12)
    for tokens in (1, 7):
        states, beside = torch.randn(2, tokens, width)
        for found, expected in zip(added(norm, states, beside), norm.added(states, beside), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
print("alike")
"""


def test_adding_and_norming_in_one_pass_is_what_torch_makes_of_two() -> None:
    """Narrow rows, several to a program, and wide ones, one of them past its last column, equal torch's within 1e-5."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "alike", done.stderr


def test_gelu_at_the_end_of_a_product_is_taken_where_it_agrees() -> None:
    """With GELU it is taken in place of two passes; with another activation in its place it would not agree."""
    weight, bias = torch.randn(48, 32), torch.randn(48)
    half = torch.bfloat16
    plain = packed_linear.linear(Linear(weight.numpy(), bias.numpy()), torch.device("cpu"), torch.float32, after="gelu")
    fused = packed_linear._with_gelu(weight.to(half), bias.to(half), lambda states: plain(states.float()).to(half))
    assert fused is not None
    states = torch.randn(5, 32)
    torch.testing.assert_close(fused(states.to(half)).float(), plain(states), rtol=0.02, atol=0.05)
    assert (
        packed_linear._with_gelu(weight.to(half), bias.to(half), lambda states: torch.tanh(plain(states.float())))
        is None
    )
