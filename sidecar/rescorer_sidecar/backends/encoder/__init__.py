"""An encoder as a description and its weights, read from a checkpoint; what runs it packed needs nothing else.

A family (:mod:`.families`) says how its checkpoints name the shared blocks (:mod:`.blocks`) and what its settings
make of them (:mod:`.description`). A checkpoint that no family describes is not read here; ``transformers`` runs it.

## Decisions
2026-11: layers are read one at a time from the mapped file, so that a backend that keeps its own copy of a layer never
holds the whole checkpoint twice.
2026-11: one kind of layer for norms before and behind the blocks. What a block's norm gives goes into the next block;
``Shape.keeps_sums`` says whether the sums themselves or their norm go on beside it. Two kinds of layer would double
what every backend has to do.
"""

from __future__ import annotations

from rescorer_sidecar.backends.encoder.blocks import (
    Activation,
    Embeddings,
    Head,
    Layer,
    Linear,
    Norm,
    Relative,
    Rotary,
    Shape,
    Sight,
)
from rescorer_sidecar.backends.encoder.checkpoint import Checkpoint, described, describes, undescribed
from rescorer_sidecar.backends.encoder.description import Description, Undescribed
from rescorer_sidecar.backends.encoder.families import FAMILIES

__all__ = [
    "FAMILIES",
    "Activation",
    "Checkpoint",
    "Description",
    "Embeddings",
    "Head",
    "Layer",
    "Linear",
    "Norm",
    "Relative",
    "Rotary",
    "Shape",
    "Sight",
    "Undescribed",
    "described",
    "describes",
    "undescribed",
]
