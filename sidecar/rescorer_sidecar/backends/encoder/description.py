"""What a description says: how checkpoints name the shared blocks, and what their settings make of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rescorer_sidecar.backends.arrays import Pooling
from rescorer_sidecar.backends.encoder.blocks import Activation, Rotary, Shape, Sight
from rescorer_sidecar.backends.encoder.relative import Disentanglement

Settings = Mapping[str, Any]

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""By the names of ``config.json``."""


class Undescribed(Exception):
    """A checkpoint's settings ask for what its family's description lacks; the message says what, with its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """How a family's checkpoints name the shared blocks; where nothing is said, as BERT does.

    stem: what stands before all but the head's names; left out in bare encoders. ``positions``, ``types``,
    ``widening``, ``projection`` and ``head_norm`` are empty where the family has none. widening: brings the tables to
    the encoder's width in front of their norm; projection does so behind it. qkv: one name, or those of query, key and
    value. last_norm: the norm behind the last layer, where ``norm`` is the next layer's; else empty. head: the two
    linear layers. biasless: which of the blocks, by the names of these fields, do without a bias.
    """

    stem: str
    head: tuple[str, str]
    words: str = "embeddings.word_embeddings"
    positions: str = "embeddings.position_embeddings"
    types: str = "embeddings.token_type_embeddings"
    embedded_norm: str = "embeddings.LayerNorm"
    projection: str = ""
    widening: str = ""
    layer: str = "encoder.layer."
    qkv: tuple[str, ...] = ("attention.self.query", "attention.self.key", "attention.self.value")
    attended: str = "attention.output.dense"
    attended_norm: str = "attention.output.LayerNorm"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    norm: str = "output.LayerNorm"
    last_norm: str = ""
    head_norm: str = ""
    biasless: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One checkpoint of a family, from its settings.

    first_position: position of the first token. limit: how many tokens a row may have, where no table tells.
    gate_first: the half of ``up`` that is multiplied stands before the activated one. disentanglement: of attention.
    """

    names: Names
    shape: Shape
    head_activation: Activation
    pooling: Pooling = "cls"
    first_position: int = 0
    limit: int = 0
    gate_first: bool = False
    disentanglement: Disentanglement | None = None

    @property
    def made_values(self) -> int:
        """How many numbers a model holds beside its checkpoint's: each layer's tables by distance."""
        terms = (self.disentanglement.key, self.disentanglement.query) if self.disentanglement else ()
        return self.shape.layers * sum(map(bool, terms)) * (2 * self.limit - 1) * self.shape.width


def activation(settings: Settings, key: str) -> Activation:
    """What ``config.json`` names under the key, erf GELU where it names nothing."""
    name = settings.get(key, "gelu")
    if name not in ACTIVATIONS:
        raise Undescribed(f"{key} {name} is none of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def only(settings: Settings, **described: object) -> None:
    """Undescribed where a setting is there and is not as described."""
    for key, value in described.items():
        if settings.get(key, value) not in (value, None):
            raise Undescribed(f"{key} {settings[key]} is not described, only {value} is")


def plain(settings: Settings) -> Shape:
    """The shape of an encoder with settings named as BERT's are."""
    only(settings, position_embedding_type="absolute", is_decoder=False)
    return Shape(
        width=settings["hidden_size"],
        heads=settings["num_attention_heads"],
        inner=settings["intermediate_size"],
        norm_epsilon=settings.get("layer_norm_eps", 1e-12),
        sights=(Sight(),) * settings["num_hidden_layers"],
        activation=activation(settings, "hidden_act"),
    )


def rotary(described: Settings | None, theta: float) -> Rotary:
    """Plain rotary positions, of this theta where the settings say none."""
    described = described or {}
    only(described, rope_type="default", partial_rotary_factor=1.0)
    return Rotary(described.get("rope_theta", theta))
