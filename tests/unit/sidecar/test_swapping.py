"""A model is swapped under load: no request fails, none falls between, and what went wrong leaves no trace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import ScoreAnswer
from rescorer_sidecar.errors import CannotSwap, NotReady, UnknownModel
from rescorer_sidecar.swap import Step, Swap, SwapCounts
from rescorer_sidecar.testing import FakeClock, until
from unit.sidecar.swaps import Shop, Version

MakeShop = Callable[..., Shop]


@pytest.fixture
def make_shop(tokeniser_folder: Path, clock: FakeClock) -> Iterator[MakeShop]:
    """Makes shops of versions by source; ``v1`` serves. They are closed at the end."""
    made: list[Shop] = []

    def make(needed_bytes: int = 0, v2: Version | None = None, **settings: object) -> Shop:
        chosen = Settings(**{"model": "v1", "workers": 1, **settings})
        versions = {"v1": Version(), "v2": v2 or Version(), "v3": Version()}
        made.append(Shop(tokeniser_folder, clock, chosen, versions, needed_bytes))
        return made[-1]

    yield make
    for shop in made:
        shop.close()


async def asking(shop: Shop, answers: list[ScoreAnswer], is_over: asyncio.Event) -> None:
    """Eight requests at once, and again when all are answered, until it is over."""
    while not is_over.is_set():
        answers += await asyncio.gather(*(shop.ask() for _ in range(8)))


async def test_no_request_fails_while_models_are_swapped_and_rolled_back_under_load(make_shop: MakeShop) -> None:
    """Requests come eight at a time through two swaps and a roll-back: every answer is whole."""
    shop, answers, is_over = make_shop(), list[ScoreAnswer](), asyncio.Event()
    callers = asyncio.create_task(asking(shop, answers, is_over))
    for source in ("v2", "v3"):
        assert (await shop.swap(source, shadow_requests=3)).step == Step.SWITCHED
        served = len(answers)
        await until(lambda: len(answers) > served + 20)  # noqa: B023  # awaited before the next turn
    shop.swapper.roll_back("")
    served = len(answers)
    await until(lambda: len(answers) > served + 20)
    is_over.set()
    await callers
    assert all(answer.is_complete and len(answer.results) == 6 for answer in answers)
    digests = list(dict.fromkeys(answer.model.digest for answer in answers))
    assert digests == ["digest of v1", "digest of v2", "digest of v3"]
    assert answers[-1].model.digest == "digest of v2"


async def test_a_request_that_is_in_the_old_version_is_answered_by_it(make_shop: MakeShop) -> None:
    """Held in the model over the switch, a request ends with the old version's scores, and that closes only then."""
    shop = make_shop(rollback_s=0.0)
    old = shop.versions["v1"]
    held: list[asyncio.Task[ScoreAnswer]] = []

    async def hold(state: Swap) -> None:
        if state.golden is not None and not held:
            old.entered.clear()
            old.door.clear()
            held.append(asyncio.create_task(shop.ask()))
            await until(old.entered.is_set)

    assert (await shop.swap(shadow_requests=0, seen=hold)).step == Step.SWITCHED
    assert (await shop.ask()).model.digest == "digest of v2"
    assert not old.is_closed.is_set()
    old.door.set()
    answer = await held[0]
    assert (answer.model.digest, answer.is_complete) == ("digest of v1", True)
    await until(old.is_closed.is_set)


async def test_the_old_version_is_let_go_of_when_its_time_has_passed(make_shop: MakeShop) -> None:
    """With no time to be kept, the old version's memory is given back after the switch, and no roll-back is left."""
    shop = make_shop(rollback_s=0.0)
    await shop.swap(shadow_requests=0)
    await until(shop.versions["v1"].is_closed.is_set)
    with pytest.raises(CannotSwap, match="no earlier version of shop is kept"):
        shop.swapper.roll_back("")


async def test_a_roll_back_brings_the_old_version_and_its_scores_back(make_shop: MakeShop) -> None:
    """S5: the new version is asked afresh; after the roll-back the old one's scores are known, none of the new's."""
    shop = make_shop(v2=Version(factor=-1.0))
    first = await shop.ask()
    shop.asked -= 1
    await shop.swap(shadow_requests=0, is_forced=True)
    second = await shop.ask()
    shop.asked -= 1
    gone, come = shop.swapper.roll_back("shop")
    third = await shop.ask()
    assert (gone.source, come.source) == ("v2", "v1")
    assert [entry.pair.logit for entry in second.results] == [-entry.pair.logit for entry in first.results]
    assert not any(entry.cached for entry in second.results)
    assert [entry.pair for entry in third.results] == [entry.pair for entry in first.results]
    assert all(entry.cached for entry in third.results)
    await until(shop.versions["v2"].is_closed.is_set)


async def test_a_second_roll_back_does_not_bring_the_bad_version_back(make_shop: MakeShop) -> None:
    """A roll-back said twice is refused the second time, and the good version goes on serving."""
    shop = make_shop()
    await shop.swap(shadow_requests=0)
    shop.swapper.roll_back("")
    with pytest.raises(CannotSwap, match="to go back, swap to it"):
        shop.swapper.roll_back("")
    assert shop.serving == "v1"


async def test_a_version_that_does_not_fit_is_refused_with_both_sizes(make_shop: MakeShop) -> None:
    """Memory is looked at first: 60 MB beside 60 MB of 100 is refused with what it takes and what is left."""
    shop = make_shop(needed_bytes=60_000_000, memory_mb=100)
    found = await shop.swap()
    assert found.step == Step.REFUSED
    assert "takes about 60 MB and 40 MB of memory_mb are left" in found.reason
    assert [state.step for state in shop.told] == [Step.LOADING, Step.REFUSED]
    assert (await shop.ask()).model.digest == "digest of v1"


async def test_what_is_kept_for_a_roll_back_counts_and_can_be_released(make_shop: MakeShop) -> None:
    """A third version that does not fit beside two is told so; released, the kept one makes room for it."""
    shop = make_shop(needed_bytes=40_000_000, memory_mb=100)
    assert (await shop.swap("v2", shadow_requests=0)).step == Step.SWITCHED
    refused = await shop.swap("v3", shadow_requests=0)
    assert "20 MB of memory_mb are left" in refused.reason
    assert "release it if you are sure" in refused.reason
    assert shop.swapper.release("").source == "v1"
    await until(shop.versions["v1"].is_closed.is_set)
    await until(lambda: shop.service.registry.memory_bytes == 40_000_000)
    assert (await shop.swap("v3", shadow_requests=0)).step == Step.SWITCHED


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (Version(factor=-1.0), "rank correlation -1.00 is below 0.80"),
        (Version(moved=400.0), "distance of the score distributions"),
        (Version(factor=0.0), "golden queries rightly"),
    ],
    ids=["turns orders round", "moves the scale", "gives one score to all"],
)
async def test_a_version_that_differs_is_refused_and_its_memory_given_back(
    make_shop: MakeShop, version: Version, said: str
) -> None:
    """What live requests or golden queries say against a version ends the swap; callers get the old one as before."""
    shop, answers, is_over = make_shop(v2=version), list[ScoreAnswer](), asyncio.Event()
    caller = asyncio.create_task(asking(shop, answers, is_over))
    found = await shop.swap(shadow_requests=5, shadow_share=1.0)
    is_over.set()
    await caller
    assert found.step == Step.REFUSED
    assert said in found.reason
    await until(version.is_closed.is_set)
    assert (await shop.ask()).model.digest == "digest of v1"


async def test_a_model_that_cannot_be_loaded_is_refused_with_its_reason(make_shop: MakeShop) -> None:
    """What loading says ends the swap, word for word."""
    shop = make_shop()
    found = await shop.swap("v1")
    assert found.step == Step.REFUSED
    assert "v1 is the version that serves already" in found.reason


async def test_no_traffic_ends_a_swap_when_its_time_has_passed(make_shop: MakeShop) -> None:
    """Nobody asks: the comparison has nothing to say, and the swap is refused and says how to go on."""
    found = await make_shop().swap(within_s=0.01)
    assert found.step == Step.REFUSED
    assert "0 of 0 live requests could be compared within 0.01 s" in found.reason


async def test_a_sidecar_that_is_never_idle_ends_a_swap_and_says_so(make_shop: MakeShop) -> None:
    """Live work comes first: while it never ends nothing is compared, and the reason tells how many requests came."""
    shop = make_shop()
    old = shop.versions["v1"]
    swap = asyncio.create_task(shop.swap(within_s=0.2))
    await until(lambda: bool(shop.told) and shop.told[-1].step == Step.SHADOWING)
    old.door.clear()
    held = [asyncio.create_task(shop.ask()) for _ in range(2)]
    found = await swap
    assert (found.step, shop.versions["v2"].batches[4:]) == (Step.REFUSED, [])
    assert "0 of 0 live requests" in found.reason
    old.door.set()
    await asyncio.gather(*held)


async def test_a_swap_that_is_stopped_leaves_everything_as_it_was(make_shop: MakeShop) -> None:
    """Cancelled while it waits for live requests, the new version is let go of, and the next swap is taken."""
    shop = make_shop()
    swap = asyncio.create_task(shop.swap())
    await until(lambda: bool(shop.told) and shop.told[-1].step == Step.SHADOWING)
    swap.cancel()
    with pytest.raises(asyncio.CancelledError):
        await swap
    await until(shop.versions["v2"].is_closed.is_set)
    assert (shop.serving, shop.swapper.current) == ("v1", None)
    assert (await shop.swap("v3", shadow_requests=0)).step == Step.SWITCHED


async def test_a_second_swap_waits_for_nobody_and_is_refused(make_shop: MakeShop) -> None:
    """While one swap is under way, another and a roll-back are refused at once, and say why."""
    shop = make_shop()
    first = asyncio.create_task(shop.swap())
    await until(lambda: bool(shop.told) and shop.told[-1].step == Step.SHADOWING)
    with pytest.raises(CannotSwap, match="a swap of shop is under way"):
        await shop.swap("v3")
    with pytest.raises(CannotSwap, match="a swap of shop is under way"):
        shop.swapper.roll_back("")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_a_model_that_is_not_served_cannot_be_swapped(make_shop: MakeShop) -> None:
    """F10: an unknown name is refused, with the known ones."""
    with pytest.raises(UnknownModel, match="served: shop"):
        await make_shop().swap(model="shoes")


async def test_a_stopping_sidecar_ends_a_swap(make_shop: MakeShop) -> None:
    """Closed while a version is being loaded, the sidecar takes it no more, and lets go of it."""
    shop = make_shop()

    async def stop(state: Swap) -> None:
        if state.step == Step.LOADING:
            shop.service.close()

    found = await shop.swap(seen=stop)
    assert (found.step, shop.versions["v2"].is_closed.is_set()) == (Step.REFUSED, True)
    with pytest.raises(NotReady):
        await shop.ask()


async def test_what_a_model_has_done_is_counted_on_through_its_versions(make_shop: MakeShop) -> None:
    """Pairs that were scored before a swap and after it add up, and a roll-back takes none of them away."""
    shop = make_shop()
    counted = []
    for change in (lambda: shop.swap(shadow_requests=0), None):
        await shop.ask()
        counted.append(shop.service.registry.find("", "cross-encoder").batcher.endings.scored)
        if change is not None:
            await change()
    shop.swapper.roll_back("")
    await shop.ask()
    counted.append(shop.service.registry.find("", "cross-encoder").batcher.endings.scored)
    assert counted[1] - counted[0] >= 6
    assert counted[2] - counted[1] == 6
    assert shop.swapper.counts == SwapCounts(switched=1, refused=0, rolled_back=1)
