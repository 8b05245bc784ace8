"""What the load benchmarks make of calls and samples."""

from __future__ import annotations

import random

from load.crowd import Call
from load.figures import later_to_earlier, normal_after_s, overloaded, slope

MINUTES = [60.0 * minute for minute in range(60)]


def call(due_s: float, ms: float, outcome: str = "whole") -> Call:
    """A call of 20 pairs."""
    return Call(due_s, due_s, due_s + ms / 1000, outcome, 20 if outcome == "whole" else 0)


def noise(seed: int) -> float:
    """A few megabytes up or down."""
    return random.Random(seed).gauss(0, 2)


def test_growth_is_told_from_noise() -> None:
    """A process that grows by 30 MB in an hour is found out, and one that only breathes is not."""
    grown, low, high = slope(MINUTES, [200 + at_s / 120 + noise(int(at_s)) for at_s in MINUTES])
    assert 0 < low < 30 < high
    assert low < grown < high
    _, low, high = slope(MINUTES, [200 + noise(int(at_s)) for at_s in MINUTES])
    assert low < 0 < high


def test_neighbours_that_resemble_each_other_widen_the_interval() -> None:
    """Memory that wanders in steps of ten minutes says less about its slope than as many independent looks."""
    steps = [noise(minute // 10) for minute in range(60)]
    looks = [noise(minute) for minute in range(60)]
    _, low, high = slope(MINUTES, steps)
    _, least, most = slope(MINUTES, looks)
    assert high - low > 1.5 * (most - least)


def test_a_p99_that_doubles_is_found() -> None:
    """The interval lies around 2 where everything takes twice as long, and around 1 where nothing does."""
    usual = [random.Random(place).expovariate(0.01) for place in range(1000)]
    ratio, low, high = later_to_earlier(usual, [2 * ms for ms in usual])
    assert ratio == 2.0
    assert 1.3 < low < 2 < high
    _, low, high = later_to_earlier(usual, usual)
    assert low < 1 < high


def test_only_whole_answers_in_time_count_as_goodput() -> None:
    """Late and partial answers and refusals are not goodput; refusals are timed apart from what was admitted."""
    calls = [call(0, 100), call(1, 1500), call(2, 300, "partial"), call(3, 5, "refused"), call(4, 1000, "late")]
    found = overloaded(calls, 10.0, deadline_s=1.0)
    assert found["goodput_pairs_per_s"] == 2.0
    assert found["admitted"]["calls"] == 4
    assert found["admitted"]["max"] == 1500
    assert found["refused"]["max"] < 5.1


def test_latency_is_as_usual_from_the_first_second_that_is() -> None:
    """Seconds with slow or refused calls do not count; a median of 1.5 times the usual one does."""
    calls = [call(0.5, 400), call(1.5, 10, "refused"), call(2.5, 150), call(3.5, 90)]
    assert normal_after_s(calls, usual_ms=100) == 2.0
    assert normal_after_s(calls[:2], usual_ms=100) == float("inf")
