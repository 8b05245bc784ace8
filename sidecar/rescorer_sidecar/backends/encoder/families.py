"""Every described family: how its checkpoints name the shared blocks, and what its settings make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rescorer_sidecar.backends.encoder.blocks import Rotary, Shape, Sight
from rescorer_sidecar.backends.encoder.description import (
    Description,
    Names,
    Settings,
    Undescribed,
    activation,
    only,
    plain,
    rotary,
)
from rescorer_sidecar.backends.encoder.relative import Disentanglement, Distances


def bert(settings: Settings) -> Description:
    """BERT; MiniLM and TinyBERT of any number of layers are BERT too."""
    names = Names(stem="bert.", head=("bert.pooler.dense", "classifier"))
    return Description(names=names, shape=plain(settings), head_activation="tanh")


def roberta(settings: Settings) -> Description:
    """RoBERTa and XLM-R, mMiniLM among them; positions count from one behind the padding id."""
    names = Names(stem="roberta.", head=("classifier.dense", "classifier.out_proj"))
    first = int(settings.get("pad_token_id", 1)) + 1
    return Description(names=names, shape=plain(settings), head_activation="tanh", first_position=first)


def electra(settings: Settings) -> Description:
    """ELECTRA: embeddings may be narrower than the encoder, and the head has erf GELU whatever the encoder has."""
    narrow = settings.get("embedding_size", settings["hidden_size"]) != settings["hidden_size"]
    names = Names(
        stem="electra.",
        projection="embeddings_project" if narrow else "",
        head=("classifier.dense", "classifier.out_proj"),
    )
    return Description(names=names, shape=plain(settings), head_activation="gelu")


def distilbert(settings: Settings) -> Description:
    """DistilBERT: no segments, and its own names for everything."""
    names = Names(
        stem="distilbert.",
        types="",
        layer="transformer.layer.",
        qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        attended="attention.out_lin",
        attended_norm="sa_layer_norm",
        up="ffn.lin1",
        down="ffn.lin2",
        norm="output_layer_norm",
        head=("pre_classifier", "classifier"),
    )
    shape = Shape(
        width=settings["dim"],
        heads=settings["n_heads"],
        inner=settings["hidden_dim"],
        norm_epsilon=1e-12,
        sights=(Sight(),) * settings["n_layers"],
        activation=activation(settings, "activation"),
    )
    return Description(names=names, shape=shape, head_activation="relu")


def deberta(settings: Settings) -> Description:
    """DeBERTa-v2 and v3: a head's scores also count how far two tokens are apart."""
    if not settings.get("relative_attention", False):
        raise Undescribed("relative_attention False is not described, only True is")
    width, heads = settings["hidden_size"], settings["num_attention_heads"]
    only(settings, conv_kernel_size=0, attention_head_size=width // heads, pooler_hidden_size=width)
    attention = "attention.self."
    names = Names(
        stem="deberta.",
        positions="embeddings.position_embeddings" if settings.get("position_biased_input", True) else "",
        types="embeddings.token_type_embeddings" if settings.get("type_vocab_size", 0) else "",
        widening="embeddings.embed_proj" if settings.get("embedding_size", width) != width else "",
        qkv=tuple(f"{attention}{name}_proj" for name in ("query", "key", "value")),
        head=("pooler.dense", "classifier"),
        biasless=frozenset({"widening"}),
    )
    terms, stem = settings.get("pos_att_type") or (), "" if settings.get("share_att_key", False) else "pos_"
    return Description(
        names=names,
        shape=replace(plain(settings), norm_epsilon=settings.get("layer_norm_eps", 1e-7)),
        head_activation=activation(settings, "pooler_hidden_act"),
        limit=settings["max_position_embeddings"],
        disentanglement=Disentanglement(
            distances=Distances.of(settings),
            table="encoder.rel_embeddings",
            norm="encoder.LayerNorm" if "layer_norm" in settings.get("norm_rel_ebd", "none").lower() else "",
            key=f"{attention}{stem}key_proj" if "c2p" in terms else "",
            query=f"{attention}{stem}query_proj" if "p2c" in terms else "",
        ),
    )


MODERNBERT = Names(
    stem="model.",
    words="embeddings.tok_embeddings",
    positions="",
    types="",
    embedded_norm="embeddings.norm",
    layer="layers.",
    qkv=("attn.Wqkv",),
    attended="attn.Wo",
    attended_norm="mlp_norm",
    up="mlp.Wi",
    down="mlp.Wo",
    norm="attn_norm",
    last_norm="final_norm",
    head=("head.dense", "classifier"),
    head_norm="head.norm",
)
BIASES = {
    "attention_bias": {"qkv", "attended"},
    "mlp_bias": {"up", "down"},
    "norm_bias": {"embedded_norm", "attended_norm", "norm", "last_norm", "head_norm"},
    "classifier_bias": {"dense"},
}
"""Which of ModernBERT's settings, all off where unsaid, give which blocks a bias."""


def modernbert(settings: Settings) -> Description:
    """ModernBERT: norms first, gated, rotary; two of three layers see a window, and turn by a theta of their own."""
    biasless = [block for key, blocks in BIASES.items() if not settings.get(key, False) for block in blocks]
    shape = Shape(
        width=settings["hidden_size"],
        heads=settings["num_attention_heads"],
        inner=settings["intermediate_size"],
        norm_epsilon=settings.get("norm_eps", 1e-5),
        sights=_sights(settings),
        activation=activation(settings, "hidden_activation"),
        is_gated=True,
        keeps_sums=True,
    )
    return Description(
        names=replace(MODERNBERT, biasless=frozenset(biasless)),
        shape=shape,
        head_activation=activation(settings, "classifier_activation"),
        pooling="mean" if settings.get("classifier_pooling") == "mean" else "cls",
        limit=settings["max_position_embeddings"],
    )


def _sights(settings: Settings) -> tuple[Sight, ...]:
    """Which of ModernBERT's layers see all, as its first checkpoints say it and as newer ones do."""
    layers, every = settings["num_hidden_layers"], settings.get("global_attn_every_n_layers", 3)
    kinds = settings.get("layer_types") or [
        "sliding_attention" if place % every else "full_attention" for place in range(layers)
    ]
    turns = settings.get("rope_parameters") or {}
    only(settings, rope_scaling=None)
    sights = {
        "full_attention": Sight(rotary=rotary(turns.get("full_attention"), settings.get("global_rope_theta", 160e3))),
        "sliding_attention": Sight(
            reach=settings.get("local_attention", 128) // 2,
            rotary=rotary(turns.get("sliding_attention"), settings.get("local_rope_theta", 10e3)),
        ),
    }
    if not sights.keys() >= set(kinds):
        raise Undescribed(f"layer_types {kinds} are not described, only {' and '.join(sights)} are")
    return tuple(sights[kind] for kind in kinds)


GTE = Names(
    stem="new.",
    positions="",
    qkv=("attention.qkv_proj",),
    attended="attention.o_proj",
    attended_norm="attn_ln",
    up="mlp.up_gate_proj",
    down="mlp.down_proj",
    norm="mlp_ln",
    head=("new.pooler.dense", "classifier"),
    biasless=frozenset({"up"}),
)


def new(settings: Settings) -> Description:
    """GTE under its first name, ``new`` (https://arxiv.org/abs/2407.19669): BERT's blocks, gated and rotary."""
    only(
        settings,
        position_embedding_type="rope",
        pack_qkv=True,
        layer_norm_type="layer_norm",
        logn_attention_scale=False,
    )
    stretch = settings.get("rope_scaling") or {"type": "ntk", "factor": 1}
    only({"rope_scaling": stretch.get("type", "of no type")}, rope_scaling="ntk")
    only(stretch, mixed_b=None)
    turned = Rotary(settings.get("rope_theta", 10e3), float(stretch["factor"]))
    return _gte(settings, turned, GTE)


def gte(settings: Settings) -> Description:
    """GTE as ``transformers`` has it since 5.x."""
    names = replace(GTE, stem="gte.", head=("gte.pooler.dense", "classifier"))
    return _gte(settings, rotary(settings.get("rope_parameters"), 160e3), names)


def _gte(settings: Settings, turned: Rotary, names: Names) -> Description:
    unplaced = {key: value for key, value in settings.items() if key != "position_embedding_type"}
    shape = plain(unplaced)
    return Description(
        names=names if settings.get("type_vocab_size", 1) else replace(names, types=""),
        shape=replace(shape, is_gated=True, sights=(Sight(rotary=turned),) * shape.layers),
        head_activation="tanh",
        limit=settings["max_position_embeddings"],
        gate_first=True,
    )


FAMILIES: dict[str, Callable[[Settings], Description]] = {
    "bert": bert,
    "roberta": roberta,
    "xlm-roberta": roberta,
    "electra": electra,
    "distilbert": distilbert,
    "deberta-v2": deberta,
    "modernbert": modernbert,
    "new": new,
    "gte": gte,
}
"""By ``model_type``."""


def family(settings: Settings) -> Description:
    """The description of a checkpoint with these settings; Undescribed where there is none."""
    model_type = settings.get("model_type")
    if model_type not in FAMILIES:
        raise Undescribed(f"model_type {model_type} is none of {', '.join(FAMILIES)}")
    try:
        return FAMILIES[model_type](settings)
    except KeyError as error:
        raise Undescribed(f"its config.json says no {error.args[0]}") from error
