"""What a gate costs: the first stage that was answered, beside the order that rescoring would have made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rescorer.domain import Audit
from rescorer.errors import Reason
from rescorer.fuse import Ranked


def compared(reason: Reason, order: Sequence[Ranked], depth: int) -> Audit:
    """The first ``depth`` hits of both orders; ``order`` is the rescored one.

    overlap: the share of hits that both show. ndcg: of the first stage, where the rescored order is right: its first
    hit gains ``depth``, its second one less, what it does not show nothing; 1 where both are the same.
    """
    depth = min(depth, len(order))
    ranks = {ranked.place: rank for rank, ranked in enumerate(order[:depth])}
    shown = [place for place in range(depth) if place in ranks]
    found = sum((depth - ranks[place]) / math.log2(2 + place) for place in shown)
    best = sum((depth - rank) / math.log2(2 + rank) for rank in range(depth))
    return Audit(
        reason=reason, depth=depth, overlap=len(shown) / depth, ndcg=found / best, first_changed=order[0].place != 0
    )
