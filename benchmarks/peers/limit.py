"""What the chip could do: the matmul rate of torch at the model's shapes, and the work of a request.

Work counts two operations for each multiply and add. A layer of BERT that is ``d`` wide with an inner width of ``4d``
has four matrices (d→3d for query, key and value together, d→d, d→4d, 4d→d), 24·d² operations a token; attention is
QKᵀ and PV, 4·L²·d for a text of L tokens, all heads together (Vaswani et al. 2017, table 1: n²·d). Softmax, GELU,
norms and embeddings are not counted, so a floor in ms is one that nothing reaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

WIDTH = 384
LAYERS = 12
SHAPES = ((WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH))
ROWS = (512, 1024, 2048, 4096, 8192)


def linear_flop(tokens: Sequence[int]) -> float:
    """Operations of all matrices of the layers, for pairs of these lengths, without padding."""
    return float(sum(tokens)) * LAYERS * sum(2 * inner * outer for inner, outer in SHAPES)


def attention_flop(tokens: Sequence[int]) -> float:
    """Operations of QKᵀ and PV."""
    return float(sum(length * length for length in tokens)) * LAYERS * 4 * WIDTH


def layer_rates(seconds: dict[int, dict[str, float]]) -> dict[int, float]:
    """Operations a second of the four matrices one after the other, by M; ``seconds[M]["384x1152"]`` is one call's."""
    work = {f"{inner}x{outer}": 2 * inner * outer for inner, outer in SHAPES}
    return {
        rows: rows * sum(work[shape] for shape in by_shape) / sum(by_shape.values())
        for rows, by_shape in seconds.items()
    }


def measured(threads: int, least_s: float = 0.12) -> dict[str, Any]:
    """Best times of each matrix in fp32, bf16, bf16 with weights in oneDNN's layout, and int8, where torch has them.

    The answer: kind → {"layer_flops": {M: operations a second}, "best": the best of them, "shapes": the same by shape}.
    """
    import torch

    torch.set_num_threads(threads)
    found: dict[str, Any] = {}
    for kind, made in _kinds(torch).items():
        try:
            seconds = {rows: _by_shape(torch, made, rows, least_s) for rows in ROWS}
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            found[kind] = {"skipped": str(error).splitlines()[0]}
            continue
        rates = layer_rates(seconds)
        shapes = {
            f"{inner}x{outer}": {rows: 2 * rows * inner * outer / seconds[rows][f"{inner}x{outer}"] for rows in ROWS}
            for inner, outer in SHAPES
        }
        found[kind] = {"layer_flops": rates, "best": max(rates.values()), "shapes": shapes}
    return found


def _kinds(torch: Any) -> dict[str, Callable[[int, int, int], Callable[[], object]]]:
    def plain(dtype: Any) -> Callable[[int, int, int], Callable[[], object]]:
        def made(rows: int, inner: int, outer: int) -> Callable[[], object]:
            given, weight = torch.randn(rows, inner, dtype=dtype), torch.randn(outer, inner, dtype=dtype)
            return lambda: torch.nn.functional.linear(given, weight)

        return made

    def packed(rows: int, inner: int, outer: int) -> Callable[[], object]:
        given = torch.randn(rows, inner, dtype=torch.bfloat16)
        weight = torch.ops.mkldnn._reorder_linear_weight(torch.randn(outer, inner, dtype=torch.bfloat16), rows)
        return lambda: torch.ops.mkldnn._linear_pointwise(given, weight, None, "none", [], "")

    def int8(rows: int, inner: int, outer: int) -> Callable[[], object]:
        given = torch.randint(-127, 127, (rows, inner), dtype=torch.int8)
        weight = torch.randint(-127, 127, (outer, inner), dtype=torch.int8).t()
        return lambda: torch._int_mm(given, weight)

    return {"fp32": plain(torch.float32), "bf16": plain(torch.bfloat16), "bf16-packed": packed, "int8": int8}


def _by_shape(torch: Any, made: Callable[..., Callable[[], object]], rows: int, least_s: float) -> dict[str, float]:
    with torch.inference_mode():
        return {f"{inner}x{outer}": _best_s(made(rows, inner, outer), least_s) for inner, outer in SHAPES}


def _best_s(call: Callable[[], object], least_s: float) -> float:
    """The shortest of the calls that fit ``least_s`` seconds, three at least, after two that warm up."""
    call(), call()
    times: list[float] = []
    begun_s = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begun_s < least_s:
        start_s = time.perf_counter()
        call()
        times.append(time.perf_counter() - start_s)
    return min(times)
