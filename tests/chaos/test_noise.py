"""The noise is that of the machine: what the probe tells is added up over the part of a time that is asked for."""

from __future__ import annotations

import io
from typing import Any, cast

from chaos.noise import Noise


class Told:
    """A probe that has told these lines."""

    def __init__(self, *lines: str) -> None:
        self.stdout = io.StringIO("".join(f"{line}\n" for line in lines))


def test_only_the_part_of_a_delay_within_the_time_counts() -> None:
    """Of waits from 1 to 3, at 4, and from 5 to 9 seconds, the time from 2 to 6 holds 1 and 0 and 1."""
    noise = Noise(cast("Any", Told("0.0 0.0", "1.0 3.0", "4.0 4.0", "5.0 9.0")))
    assert noise.between_s(2.0, 6.0) == 2.0
    assert noise.between_s(3.5, 4.5) == 0.0
