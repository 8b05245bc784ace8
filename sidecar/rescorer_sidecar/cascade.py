"""A cascade's arithmetic, pure: who survives a stage, and how the scores of two stages become one order.

**The join at the seam.** Of a stage's candidates those that the next stage has scored stand on top, by its logits as
they are. All others follow in the order of the earlier stage. Where ``l`` is the lowest logit above the seam and ``s``
the earlier stage's logit at the seam, a candidate below with logit ``f`` gets ``l + (f - s)``. ``s`` is the lowest that
the earlier stage gave to those above, or the highest that it gave to those below if that is higher. So differences
of the earlier stage stay what they were, no survivor ends below a candidate that is none, and candidates that were to
survive but have no score of the next stage stand right behind the seam: they lead the earlier stage's order.

Every logit is a float32, as on the wire, and orders are strict in float32: one step below where rounding would make
equal what was not. Only at the end of the float32 range logits fall together.

## Decisions
2026-11: the formula is that of the client's own seam between window and tail. Rejected: a fixed distance, which says
nothing about either model, and the earlier logits as they are, since two models' scales have nothing in common.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

MOST = float(struct.unpack("<f", b"\xff\xff\x7f\x7f")[0])
"""The largest float32."""


def survivors(logits: Mapping[int, float], keep: int) -> list[int]:
    """The places of the ``keep`` highest logits, highest first, equal ones by place; all where ``keep`` is 0."""
    order = ranked(logits)
    return order[:keep] if keep else order


def ranked(logits: Mapping[int, float]) -> list[int]:
    """All places, highest logit first, equal ones by place."""
    return sorted(logits, key=lambda place: (-logits[place], place))


def joined(upper: Mapping[int, float], lower: Mapping[int, float]) -> dict[int, float]:
    """The logits of two stages as one order; every place of ``upper``, the later stage, is one of ``lower``."""
    found = dict(upper)
    below = [place for place in ranked(lower) if place not in upper]
    if not upper or not below:
        return found or dict(lower)
    lowest = min(upper.values())
    seam = max(min(lower[place] for place in upper), lower[below[0]])
    previous, given = lower[below[0]], _step_below(lowest)
    for place in below:
        highest = _step_below(given) if lower[place] < previous else given
        given = min(highest, _float32(lowest + (lower[place] - seam)))
        found[place], previous = given, lower[place]
    return found


def _float32(value: float) -> float:
    bounded = min(max(value, -MOST), MOST)
    return float(struct.unpack("<f", struct.pack("<f", bounded))[0])


def _step_below(value: float) -> float:
    """The next float32; the lowest one is its own."""
    if value <= -MOST:
        return -MOST
    (bits,) = struct.unpack("<i", struct.pack("<f", value or -0.0))
    bits += -1 if bits >= 0 else 1
    return float(struct.unpack("<f", struct.pack("<i", bits))[0])
