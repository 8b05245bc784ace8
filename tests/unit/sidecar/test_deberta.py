"""Disentangled attention, and DeBERTa-v2 and v3 whole, against transformers on random weights."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescorer_sidecar.backends.encoder import Linear
from rescorer_sidecar.backends.relative import Distances, Relative

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")

from transformers.models.deberta_v2 import modeling_deberta_v2 as theirs  # noqa: E402
from transformers.models.deberta_v2.configuration_deberta_v2 import DebertaV2Config  # noqa: E402

from rescorer_sidecar.backends.disentangled import Disentangled  # noqa: E402
from rescorer_sidecar.backends.packed_attention import Rows  # noqa: E402

CPU = torch.device("cpu")
LONGEST, HEADS, SIZE = 96, 3, 8
WIDTH = HEADS * SIZE

V3 = {"position_buckets": 16, "share_att_key": True, "pos_att_type": ["p2c", "c2p"]}
KINDS: dict[str, dict[str, object]] = {
    "v3": V3,
    "v3, heads that have tables of their own": V3 | {"share_att_key": False},
    "v2, a row for each distance": V3 | {"position_buckets": -1, "max_relative_positions": 40},
    "to keys only": V3 | {"pos_att_type": ["c2p"]},
    "to queries only": V3 | {"pos_att_type": "p2c", "share_att_key": False},
}


def config(**changes: object) -> DebertaV2Config:
    """A small model's settings."""
    base = {
        "vocab_size": 300,
        "hidden_size": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": HEADS,
        "intermediate_size": 40,
        "max_position_embeddings": LONGEST,
        "relative_attention": True,
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "initializer_range": 0.08,
        "num_labels": 1,
    }
    return DebertaV2Config(**(base | changes))


def linear(module: torch.nn.Linear | None) -> Linear | None:
    """A module's weights, where there is one."""
    if module is None:
        return None
    return Linear(module.weight.detach().numpy(), module.bias.detach().numpy())


@settings(deadline=None)
@given(
    buckets=st.sampled_from([-1, 0, 4, 16, 32, 48, 256]),
    most=st.sampled_from([-1, 40, 96, 200, 512, 1024]),
    limit=st.integers(1, 1100),
)
def test_every_distance_has_the_models_row(buckets: int, most: int, limit: int) -> None:
    """Whatever the buckets and the limit, each distance is looked up where transformers looks it up."""
    found = Distances.of({"position_buckets": buckets, "max_relative_positions": most, "max_position_embeddings": 512})
    most = most if most > 0 else 512
    tokens = torch.zeros(1, limit, 1)
    grid = theirs.build_relative_position(tokens, tokens, buckets, most)[0]
    span = buckets if buckets > 0 else most
    expected = torch.clamp(torch.cat([grid[0].flip(0), grid[1:, 0]]) + span, 0, 2 * span - 1)
    assert found.rows(limit).tolist() == expected.tolist()


@pytest.fixture(scope="module", params=KINDS)
def layer(request: pytest.FixtureRequest) -> tuple[theirs.DisentangledSelfAttention, torch.Tensor, Disentangled]:
    """Their attention with its table, and ours from the same weights."""
    torch.manual_seed(2)
    described = config(**KINDS[request.param])
    their = theirs.DisentangledSelfAttention(described).eval()
    for weights in their.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    distances = Distances.of(described.to_dict())
    table = torch.randn(2 * distances.span, WIDTH)
    shared, kinds = described.share_att_key, described.pos_att_type
    key = their.key_proj if shared else getattr(their, "pos_key_proj", None)
    query = their.query_proj if shared else getattr(their, "pos_query_proj", None)
    relative = Relative.of(
        table.numpy(),
        distances.rows(LONGEST),
        linear(key if "c2p" in kinds else None),
        linear(query if "p2c" in kinds else None),
        SIZE,
    )
    return their, table, Disentangled.of(relative, HEADS, CPU, torch.float32)


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, LONGEST), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_attention_is_transformers_row_by_row(
    layer: tuple[theirs.DisentangledSelfAttention, torch.Tensor, Disentangled], lengths: list[int], seed: int
) -> None:
    """Rows of any lengths in one call mix their values as transformers mixes each of them alone."""
    their, table, ours = layer
    states = torch.randn(sum(lengths), WIDTH, generator=torch.Generator().manual_seed(seed))
    rows = Rows.of(sorted(lengths), CPU)
    with torch.no_grad():
        qkv = torch.cat([part(states) for part in (their.query_proj, their.key_proj, their.value_proj)], dim=1)
        found = ours(qkv.view(-1, 3, HEADS, SIZE), rows).flatten(1)
        for begin, end in zip(rows.starts, rows.starts[1:], strict=False):
            row = states[begin:end][None]
            grid = theirs.build_relative_position(row, row, their.position_buckets, their.max_relative_positions)
            mask = torch.ones(1, 1, end - begin, end - begin)
            expected = their(row, mask, relative_pos=grid, rel_embeddings=table)[0][0]
            assert torch.allclose(found[begin:end], expected, atol=2e-5)
