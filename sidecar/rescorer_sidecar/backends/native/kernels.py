"""The C library's functions on numpy arrays: what it is handed is checked here, since it checks nothing itself."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rescorer_sidecar.backends.encoder import Activation, Checkpoint, Embeddings, Linear, Norm, Rotary
from rescorer_sidecar.domain import Floats

PRECISIONS = {"fp32": 0, "bf16": 1, "int8": 2}
ACTIVATIONS: dict[Activation, int] = {"gelu": 0, "gelu_tanh": 1, "relu": 2, "silu": 3, "tanh": 4}
Result = Literal["logits", "first", "mean"]
_RESULTS: dict[Result, int] = {"logits": 0, "first": 1, "mean": 2}
_ALIGN = 64

Numbers = npt.NDArray[np.int32]


class Kernels:
    """One model's weights in the library's own layout. ``run`` may be called from several threads at once."""

    def __init__(
        self,
        library: Any,
        checkpoint: Checkpoint,
        tables: Embeddings,
        precision: str,
        *,
        is_classifier: bool,
        most_layers: int | None = None,
    ) -> None:
        shape = checkpoint.shape
        layers = shape.layers if most_layers is None else min(most_layers, shape.layers)
        self.positions = tables.limit
        self._library = library
        self._words, self._types = len(tables.words), len(tables.types)
        self._width, self._labels = shape.width, 0
        self._tables = tables  # the library reads them where they lie, and these:
        head_size = shape.width // shape.heads
        self._turns: dict[Rotary | None, Sequence[Floats | None]] = {
            rotary: (None, None) if rotary is None else rotary.turns(tables.limit, head_size)
            for rotary in {sight.rotary for sight in shape.sights}
        }
        sizes = (shape.width, shape.heads, shape.inner, tables.words.shape[1], shape.is_gated, shape.keeps_sums)
        numbers = np.array((PRECISIONS[precision], layers, *sizes, tables.limit), dtype=np.int32)
        self._encoder = library.rescorer_new(_address(numbers), shape.norm_epsilon)
        if not self._encoder:
            raise MemoryError("no memory for the model's weights")
        found = [tables.words, tables.positions, tables.types, *_pair(tables.norm), *_pair(tables.projection)]
        self._given(library.rescorer_set_embeddings, found)
        for place in range(layers):
            layer = checkpoint.layer(place)
            parts = (layer.qkv, layer.attended, layer.attended_norm, layer.up, layer.down, layer.norm)
            sight = shape.sights[place]
            distances = (None, None) if layer.relative is None else (layer.relative.keys, layer.relative.queries)
            arrays = [*(array for part in parts for array in _pair(part)), *self._turns[sight.rotary], *distances]
            self._given(library.rescorer_set_layer, arrays, place, -1 if sight.reach is None else sight.reach)
        if is_classifier:
            head = checkpoint.head()
            self._labels = len(head.out.bias)
            arrays = [*_pair(head.dense), *_pair(head.out), *_pair(head.norm)]
            pooling = int(head.pooling == "mean")
            self._given(library.rescorer_set_head, arrays, self._labels, ACTIVATIONS[head.activation], pooling)

    def scratch_bytes(self, tokens: int, longest: int) -> int:
        """How much memory a forward over so many tokens works in."""
        return int(self._library.rescorer_scratch_bytes(self._encoder, tokens, longest)) + _ALIGN

    def run(
        self, result: Result, starts: Numbers, ids: Numbers, types: Numbers, scratch: npt.NDArray[np.uint8]
    ) -> Floats:
        """Sequence i is at starts[i] … starts[i + 1] of ids and types.

        Returns float32[rows, labels], or float32[rows, width] of the first tokens' states or of the states' means.
        Raises ValueError where an id, a type or a length is none of the model's.
        """
        if self._types == 1:
            types = np.zeros_like(types)  # families of one segment read every segment number as 0
        lengths = np.diff(starts)
        _within("length", lengths, 1, self.positions)
        _within("token", ids, 0, self._words - 1)
        _within("type", types, 0, self._types - 1)
        width = self._labels if result == "logits" else self._width
        found = np.zeros((len(lengths), width), dtype=np.float32)
        if len(scratch) < self.scratch_bytes(int(starts[-1]), int(lengths.max())):
            raise ValueError(f"{len(scratch)} bytes of scratch are too few for {starts[-1]} tokens")
        self._library.rescorer_forward(
            self._encoder,
            len(lengths),
            *(_address(array) for array in (starts, ids, types)),
            _RESULTS[result],
            -(-scratch.ctypes.data // _ALIGN) * _ALIGN,
            _address(found),
        )
        return found

    def close(self) -> None:
        """Let go of the weights."""
        self._library.rescorer_free(self._encoder)
        self._encoder = None

    def _given(self, function: Any, arrays: Sequence[Floats | None], *numbers: int) -> None:
        addresses = (None if array is None else _address(array) for array in arrays)
        pointers = (ctypes.c_void_p * len(arrays))(*addresses)
        if not function(self._encoder, *numbers, pointers):
            raise MemoryError("no memory for the model's weights")


def typed(library: ctypes.CDLL) -> Any:
    """The library, ready: its functions have their types, so that no pointer is cut to 32 bits."""
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "begin": (None, []),
        "supports": (number, [number]),
        "rate": (ctypes.c_double, [number]),
        "instructions": (ctypes.c_char_p, []),
        "new": (pointer, [pointer, ctypes.c_float]),
        "free": (None, [pointer]),
        "set_embeddings": (number, [pointer, pointer]),
        "set_layer": (number, [pointer, number, number, pointer]),
        "set_head": (number, [pointer, number, number, number, pointer]),
        "scratch_bytes": (size, [pointer, number, number]),
        "forward": (None, [pointer, number, pointer, pointer, pointer, number, pointer, pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"rescorer_{name}")
        function.restype, function.argtypes = result, arguments
    library.rescorer_begin()
    return library


def _pair(part: Linear | Norm | None) -> tuple[Floats, Floats] | tuple[None, None]:
    return (None, None) if part is None else (part.weight, part.bias)


def _address(array: npt.NDArray[Any]) -> int:
    return array.ctypes.data


def _within(what: str, values: Numbers, least: int, most: int) -> None:
    if values.size and (values.min() < least or values.max() > most):
        raise ValueError(f"a {what} of {values.min()} to {values.max()} is outside the model's {least} to {most}")
