"""A model that dies: who is told what, when it is loaded again, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from rescorer_sidecar import grpc_server
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Candidate, Floats, Kind, ScoreAnswer, ScoreRequest, Stage, Tokens
from rescorer_sidecar.errors import BackendFailed, ConfigError, ModelDied, NotReady, TooLarge
from rescorer_sidecar.memory import Budget
from rescorer_sidecar.models import Model
from rescorer_sidecar.reviving import STEADY_S, Reviver
from rescorer_sidecar.service import Service
from rescorer_sidecar.swap import Order, Step
from rescorer_sidecar.swapping import Swapper
from rescorer_sidecar.testing import POISON_WORD, FakeClock, fake_model, until
from unit.sidecar.door import Serve, refusal
from unit.sidecar.door import asking as wire_asking
from unit.sidecar.scrape import scrape


class Mortal(FakeBackend):
    """Answers until it is killed, and tells when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_dead = self.is_closed = False

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        values = super().forward(batch)
        if self.is_dead:
            raise OSError("the worker is gone")
        return values

    def close(self) -> None:
        assert not self.is_closed, "closed twice"
        self.is_closed = True


@dataclass
class Clinic:
    """A service whose models may die; ``ends`` says how the next tries to load one end, well where nothing is said."""

    folder: Path
    clock: FakeClock
    settings: Settings = field(default_factory=lambda: Settings(model="fake", workers=1, cache_mb=0))
    backends: list[Mortal] = field(default_factory=list)
    ends: list[Exception] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    told: list[bool] = field(default_factory=list)
    needed_bytes: int = 0

    def __post_init__(self) -> None:
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.service = Service(self.settings, self.clock)
        self.reviver = Reviver(self.service.registry, self.settings, self.clock, self.tell, self.load)
        self.reviver.pause = self.pause

    async def tell(self) -> None:
        """What health is told."""
        self.told.append(self.service.is_ready)

    async def pause(self, seconds: float) -> None:
        """No time passes but on the clock of the test."""
        self.pauses.append(seconds)
        self.clock.advance(seconds)
        await self.go_on.wait()

    def model(self, name: str = "fake", kind: Kind = "cross-encoder", digest: str = "d1") -> Model:
        """A version that lives."""
        self.backends.append(Mortal())
        made = fake_model(self.folder, name=name, kind=kind, digest=digest, backend=self.backends[-1])
        return replace(made, origin=f"owner/{name}@r1", memory_bytes=self.needed_bytes)

    def load(self, source: str, kind: Kind, settings: Settings, budget: Budget) -> Model:
        """Stands for loading from files."""
        self.loaded.append(source)
        if self.ends:
            raise self.ends.pop(0)
        budget.take(self.needed_bytes, source)
        return self.model(source.partition("/")[2].partition("@")[0], kind)

    def ask(self, *texts: str, **more: object) -> asyncio.Task[ScoreAnswer]:
        """A request that runs."""
        candidates = tuple(Candidate(id=str(place), text=text) for place, text in enumerate(texts or ("hotel",)))
        return asyncio.create_task(self.service.score(ScoreRequest(query="cat", candidates=candidates, **more)))

    async def killed(self) -> None:
        """Kill what was loaded last, and let a request find out."""
        self.backends[-1].is_dead = True
        with pytest.raises(ModelDied, match=r"has died \(OSError\) and is being loaded again; ask another sidecar"):
            await self.ask()


@pytest.fixture
async def clinic(tokeniser_folder: Path, clock: FakeClock) -> AsyncIterator[Clinic]:
    """One with a living model."""
    made = Clinic(tokeniser_folder, clock)
    made.service.open([made.model()])
    yield made
    made.go_on.set()
    made.reviver.close()
    made.service.close()


async def test_a_dead_model_is_loaded_again_and_health_says_so_meanwhile(clinic: Clinic) -> None:
    """The first request that meets it hears UNAVAILABLE's error, health falls and rises, and the next one is scored."""
    assert (await clinic.ask()).is_complete
    await clinic.killed()
    await until(lambda: clinic.told == [False, True])
    assert (await clinic.ask()).is_complete
    assert (clinic.loaded, clinic.pauses) == (["owner/fake@r1"], [])
    assert clinic.backends[0].is_closed


async def test_while_a_model_is_dead_requests_are_refused_at_once(clinic: Clinic) -> None:
    """Nobody waits for the reload, and everybody who waited when it died is told, without a deadline too."""
    clinic.ends = [ConfigError("no such folder")]
    clinic.go_on.clear()
    clinic.backends[0].door.clear()
    waiting = [clinic.ask(f"hotel {number}") for number in range(5)]
    await until(lambda: clinic.service.waiting == 4)
    clinic.backends[0].is_dead = True
    clinic.backends[0].door.set()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(end) for end in ends} == {ModelDied}
    with pytest.raises(ModelDied):
        await clinic.ask("train")
    assert clinic.service.unready == "the model has failed and is being loaded again"
    assert isinstance(ends[0], NotReady)


async def test_a_poisoned_pair_is_no_death(clinic: Clinic) -> None:
    """The model is asked for a pair that it answered before: it lives, so the pair alone is to blame."""
    with pytest.raises(BackendFailed):
        await clinic.ask(POISON_WORD)
    answer = await clinic.ask("hotel", POISON_WORD, "train")
    assert [entry.index for entry in answer.results] == [0, 2]
    assert (clinic.loaded, clinic.told) == ([], [])


async def test_a_model_that_makes_no_numbers_any_more_is_dead(clinic: Clinic) -> None:
    """Weights that were overwritten raise nothing; NaN for the known pair counts as no answer."""
    spoilt = clinic.backends[0]
    answer = spoilt.forward
    spoilt.forward = lambda batch: answer(batch) * float("nan")
    with pytest.raises(ModelDied):
        await clinic.ask()
    await until(lambda: clinic.told == [False, True])
    assert (await clinic.ask()).is_complete


async def test_reloads_that_fail_are_tried_again_later_and_later(clinic: Clinic) -> None:
    """At once, then after 1, 2, 4 … and at most 60 seconds; any error counts, and each is counted."""
    clinic.ends = [ConfigError("away"), RuntimeError("device"), *[ConfigError("away")] * 7]
    await clinic.killed()
    await until(lambda: clinic.told == [False, True])
    assert clinic.pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    page = scrape(clinic.service.metrics)
    assert page.by("rescorer_model_reloads_total", "end") == {"failed": 9, "revived": 1}
    assert page.by("rescorer_model_deaths_total", "model") == page.by("rescorer_model_up", "model") == {"fake": 1}


@pytest.mark.parametrize(("lived_s", "pauses"), [(STEADY_S - 10, [1, 2]), (STEADY_S + 10, [])])
async def test_one_that_dies_again_soon_waits_longer(clinic: Clinic, lived_s: float, pauses: list[float]) -> None:
    """Pauses go on growing from death to death until it has lived for five minutes."""
    for count in (1, 2, 3):
        clinic.clock.advance(lived_s)
        await clinic.killed()
        await until(lambda count=count: len(clinic.told) == 2 * count)
    assert clinic.pauses == pauses


async def test_the_memory_of_the_dead_is_given_back_before_it_is_loaded_again(
    tokeniser_folder: Path, clock: FakeClock
) -> None:
    """A model that fits once, and not twice, is revived."""
    clinic = Clinic(tokeniser_folder, clock, Settings(model="fake", workers=1, memory_mb=3), needed_bytes=2_000_000)
    clinic.service.open([clinic.model()])
    budget = Budget(3_000_000)
    budget.holds(clinic.service.registry.memory_bytes)
    with pytest.raises(TooLarge):
        clinic.load("owner/fake@r1", "cross-encoder", clinic.settings, budget)
    await clinic.killed()
    await until(lambda: clinic.told == [False, True])
    assert clinic.service.registry.memory_bytes == 2_000_000
    clinic.reviver.close()
    clinic.service.close()


@pytest.fixture
async def impatient(tokeniser_folder: Path, clock: FakeClock) -> AsyncIterator[Clinic]:
    """One whose model's forwards count as hung after a twentieth of a second."""
    made = Clinic(tokeniser_folder, clock, Settings(model="fake", workers=1, cache_mb=0, hung_s=0.05))
    made.service.open([made.model()])
    yield made
    made.reviver.close()
    for backend in made.backends:
        backend.door.set()
    made.service.close()


async def test_a_forward_that_hangs_is_given_up_and_its_model_is_loaded_again(impatient: Clinic) -> None:
    """Whoever waits hears it, those in the forward and those behind; what hangs is not closed until it comes back."""
    impatient.backends[0].door.clear()
    ends = await asyncio.gather(*(impatient.ask(f"hotel {number}") for number in range(3)), return_exceptions=True)
    assert {str(end).partition(" and ")[0] for end in ends} == {"the model has died (ForwardHung)"}
    await until(lambda: impatient.told == [False, True])
    assert (await impatient.ask()).is_complete
    assert (len(impatient.backends), impatient.backends[0].is_closed) == (2, False)
    impatient.backends[0].door.set()
    await until(lambda: impatient.backends[0].is_closed)
    assert (await impatient.ask()).is_complete


async def test_while_a_hung_model_has_no_successor_the_liveness_probe_fails(impatient: Clinic) -> None:
    """Where a second copy does not fit, only a new process helps; comes the forward back after all, all is well."""
    impatient.ends = [TooLarge("fake", 2_000_000, 1_000_000, is_set=False)]
    impatient.go_on.clear()
    impatient.backends[0].door.clear()
    with pytest.raises(ModelDied):
        await impatient.ask()
    await until(lambda: len(impatient.pauses) == 1)
    assert impatient.service.is_hung
    impatient.backends[0].door.set()
    impatient.go_on.set()
    await until(lambda: impatient.told == [False, True])
    assert not impatient.service.is_hung


async def test_a_pulse_that_hangs_is_a_death_too(impatient: Clinic) -> None:
    """A row fails by itself, and the row that was answered before is not answered."""
    backend = impatient.backends[0]
    fails = backend.forward

    def failing(batch: Sequence[Tokens]) -> Floats:
        backend.door.clear()
        backend.forward = fails
        raise OSError("a row failed")

    backend.forward = failing
    with pytest.raises(ModelDied):
        await impatient.ask()
    await until(lambda: impatient.told == [False, True])
    assert impatient.service.registry.deaths == {"fake": 1}


async def test_one_dead_model_of_several_leaves_the_others_serving(tokeniser_folder: Path, clock: FakeClock) -> None:
    """The sidecar stays ready, the other model answers, and a cascade whose second model is dead keeps its first."""
    clinic = Clinic(tokeniser_folder, clock)
    clinic.service.open([clinic.model("small"), clinic.model("large")])
    clinic.ends = [ConfigError("away")]
    clinic.go_on.clear()
    clinic.backends[-1].is_dead = True
    with pytest.raises(ModelDied):
        await clinic.ask(model="large")
    assert clinic.service.is_ready
    assert clinic.service.registry.alive == {"small": True, "large": False}
    assert (await clinic.ask(model="small")).is_complete
    answer = await clinic.ask("hotel", cascade=(Stage(model="small"), Stage(model="large")))
    assert (len(answer.results), answer.is_complete) == (1, False)
    clinic.go_on.set()
    await until(lambda: clinic.service.registry.alive["large"])
    clinic.reviver.close()
    clinic.service.close()


async def test_a_swap_mends_a_dead_model_and_the_reload_gives_way(clinic: Clinic) -> None:
    """Another version may take a dead one's place; the dead one is not kept for a roll-back, nor loaded again."""
    clinic.ends = [ConfigError("away")]
    clinic.go_on.clear()
    await clinic.killed()
    await until(lambda: clinic.pauses == [1])

    def load(*_: object) -> Model:
        return clinic.model(digest="d2")

    swapper = Swapper(clinic.service.registry, clinic.settings, clinic.clock, load)
    done = await swapper.swap(Order(source="v2", shadow_requests=0), lambda _: asyncio.sleep(0))
    assert done.step == Step.SWITCHED
    assert swapper.kept("fake") is None
    clinic.go_on.set()
    await until(lambda: clinic.told == [False, True])
    assert (await clinic.ask()).model.digest == "d2"
    swapper.close()


async def test_at_the_door_a_dead_model_is_unavailable_and_health_names_it(
    serve: Serve, tokeniser_folder: Path
) -> None:
    """UNAVAILABLE with what to do; NOT_SERVING for the service and for the model under its own name."""
    backend = Mortal()
    served = await serve(fake_model(tokeniser_folder, backend=backend))
    backend.is_dead = True
    code, message, _ = await refusal(served.calls.Score(wire_asking("hotel"), timeout=20))
    assert code.name == "UNAVAILABLE"
    assert "ask another sidecar, or try again in some seconds" in message
    alive = served.service.registry.alive
    await grpc_server.tell_health(served.health, serving=served.service.is_ready, alive=alive)
    assert [await served.health_of(name) for name in ("", "rescorer.v1.Rescorer/fake")] == [2, 2]
