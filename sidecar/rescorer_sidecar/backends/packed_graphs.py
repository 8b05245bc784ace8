"""Forwards of few tokens as CUDA graphs: one launch where a forward makes hundreds, each of which costs the CPU more
than the GPU.

A graph computes a fixed number of tokens and rows. A batch takes the smallest that holds it; what lies behind its own
tokens belongs to no row, and nobody reads it.

## Decisions
2026-11: recorded at load, two sizes to an octave up to :data:`MOST_TOKENS`: above, a GPU computes for longer than the
CPU takes to launch. Rejected: recording when a size is first met, where a search would wait for it.
2026-11: a model whose forward can't be recorded (DeBERTa's attention goes by row lengths) runs as it would without,
and says so once.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rescorer_sidecar.backends.arrays import Ids
from rescorer_sidecar.backends.packed_attention import Rows

logger = logging.getLogger(__name__)
Compute = Callable[[torch.Tensor, Rows], torch.Tensor]
"""[rows, …] from int64[3, tokens] and where their rows lie."""

SIZES = (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
MOST_TOKENS = SIZES[-1]
TOKENS_A_ROW = 16
"""A graph of n tokens has n / 16 rows; a batch of more rows, which are shorter, runs without."""

LONGEST = 512
"""Tokens of a row; a batch with a longer one runs without. Kernels start as if every row had so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """A graph, what it reads and where it leaves its results."""

    graph: torch.cuda.CUDAGraph
    ids: torch.Tensor
    starts: torch.Tensor
    found: torch.Tensor


class Graphs:
    """The graphs of one model; ``longest`` is the most tokens of a row."""

    def __init__(self, compute: Compute, longest: int, place: torch.device) -> None:
        self._recorded: list[_Recorded] = []
        self._lock = threading.Lock()  # a graph's tensors hold one batch at a time
        self._longest = min(longest, LONGEST)
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(SIZES):  # the largest first: the others fit into its memory
            self._recorded.insert(0, self._record(compute, size, place, pool))

    def forward(self, ids: Ids, lengths: Sequence[int]) -> torch.Tensor | None:
        """[rows, …] on the CPU, or None where no graph holds so many tokens or rows, or so long ones, the last."""
        if lengths[-1] > self._longest:
            return None
        tokens, rows = ids.shape[1], len(lengths)
        fits = (one for one in self._recorded if tokens < one.ids.shape[1] and rows < len(one.starts))
        starts = [0, *itertools.accumulate(lengths)]
        with self._lock:
            recorded = next(fits, None)
            if recorded is None:
                return None
            padded = starts + [tokens] * (len(recorded.starts) - len(starts))
            recorded.ids[:, :tokens].copy_(torch.from_numpy(ids))
            recorded.starts.copy_(torch.tensor(padded, dtype=torch.int32))
            recorded.graph.replay()
            return recorded.found[:rows].cpu()

    def _record(self, compute: Compute, size: int, place: torch.device, pool: Any) -> _Recorded:
        ids = torch.zeros((3, size), dtype=torch.int64, device=place)
        starts = torch.zeros(size // TOKENS_A_ROW + 1, dtype=torch.int32, device=place)
        rows = Rows(lengths=(self._longest,), starts=starts)
        with torch.no_grad(), torch.cuda.device(place):
            aside = torch.cuda.Stream(place)
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                compute(ids, rows)  # what is set up at a first call can't be recorded
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # other models of this process may use the device meanwhile
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                found = compute(ids, rows)
        return _Recorded(graph=graph, ids=ids, starts=starts, found=found)


def recorded(compute: Compute, longest: int, place: torch.device) -> Graphs | None:
    """The graphs of a model on CUDA; None on the CPU, and where its forward can't be recorded."""
    if place.type != "cuda":
        return None
    try:
        return Graphs(compute, longest, place)
    except RuntimeError as error:
        logger.info("forwards on %s run without graphs: %s", place, (str(error).splitlines() or [""])[0])
        torch.cuda.synchronize(place)
        return None
