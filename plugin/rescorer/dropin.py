"""What the drop-in classes of both engines have in common: the official class with other ``search`` methods.

A method builds the flow of its story and hands it to the driver of its kind. What differs between the engines' clients
is in one :class:`Talk` per call: how the call reads as JSON, and in which form the answer goes back.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from rescorer import explain, flow, hedge, hybrid, many, signatures
from rescorer.afterwards import Afterwards, AsyncAfterwards
from rescorer.context import Context
from rescorer.credentials import from_environment
from rescorer.domain import (
    Call,
    Effect,
    Embed,
    EmbedKind,
    EmbedRequest,
    Engine,
    Flow,
    OpenPointInTime,
    ReadMapping,
    Render,
    Search,
    SearchMany,
    SearchManyTemplates,
    SearchTemplate,
)
from rescorer.drive import Doors, EngineEffect, run, run_async
from rescorer.errors import InvalidSetting
from rescorer.pages import Page
from rescorer.profiles import ProfileCache
from rescorer.scorers import AsyncScorer, Scorer, channels, secure
from rescorer.scorers.fleet import ScorerState
from rescorer.scorers.grpc import AsyncGrpcScorer, GrpcScorer
from rescorer.telemetry import Tally, Telemetry, told

DEFAULT_TIMEOUT_S = 10.0
"""Both official clients' own."""

REPLACED = ("search", "msearch", "search_template", "msearch_template")
"""Official methods that answer rescored."""

EXTENDED = ("create_pit", "open_point_in_time", "options")
"""Official methods of one engine or the other that do something more here."""

_METHODS: Mapping[type, str] = {
    Search: "search",
    SearchMany: "msearch",
    SearchTemplate: "search_template",
    SearchManyTemplates: "msearch_template",
    Render: "render_search_template",
}


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a client holds for rescoring; shared by the copies that the official ``options()`` makes of a client.

    own: the scorer that was made for this client, which ``close()`` closes. again: makes the like of it for a client
    that was deeply copied or unpickled: a channel, profiles and counts of its own, and the scorer that was handed in.
    """

    scorer: Scorer | AsyncScorer | None
    own: GrpcScorer | AsyncGrpcScorer | None
    profiles: ProfileCache
    again: Callable[[], Wiring]
    telemetry: tuple[Telemetry, ...] = ()
    tally: Tally = field(default_factory=Tally)
    afterwards: Afterwards | AsyncAfterwards = field(default_factory=Afterwards)

    def __deepcopy__(self, _: Any) -> Wiring:
        return self.again()

    def __reduce__(self) -> tuple[Callable[[], Wiring], tuple[()]]:
        return self.again, ()


class Talk:
    """One call's conversation with the engine. ``call`` is what was asked, as JSON and keywords."""

    def __init__(self, official: Callable[[str], Callable[..., Any]], kwargs: Mapping[str, Any]) -> None:
        self._official = official
        options = dict(kwargs)
        self.call = Call(options.pop("body", None), options)

    def door(self, effect: EngineEffect) -> Any:
        """Send what the effect says with the official method for it."""
        if isinstance(effect, ReadMapping):
            return self._official("indices.get_mapping")(**effect.options)
        if isinstance(effect, OpenPointInTime):
            return self.opened(effect.call)
        return self._official(_METHODS[type(effect)])(body=effect.call.body, **effect.call.options)

    def opened(self, call: Call) -> Any:
        """Open a point in time."""
        return self._official("create_pit")(**call.options)

    def received(self, answer: Any) -> Any:
        """The engine's answer as JSON."""
        return answer

    def reply(self, found: Any) -> Any:
        """The answer in the form of the official client."""
        return found


class Rescorer:
    """``client.rescorer``: what this client does for its searches, to look at."""

    def __init__(self, client: DropIn) -> None:
        self._client = client

    def explain(self, index: Any = None, body: Any = None, **options: Any) -> Any:
        """What ``search`` would do with these arguments, without doing it; an awaitable in asynchronous clients.

        A dict with ``would`` (``rescore``, ``skip``, ``fall_back``, ``pass_through``), ``reason`` and ``mend``,
        ``query_text``, each setting with its value and where it comes from, and what would be sent to the engine.
        Reads the index's mapping at most.
        """
        client = self._client
        talk = client._talk({"index": index, "body": body, **options})
        return client._drive(explain.explained(talk.call, client._context()), Doors(talk.door, None, talk.received))

    def state(self) -> ScorerState:
        """What this client knows about its sidecars now: breakers, calls, hedging; asks nobody and never waits.

        Empty where it has none, or a scorer of your own.
        """
        scorer = self._client._wiring.scorer
        return scorer.state() if isinstance(scorer, GrpcScorer | AsyncGrpcScorer) else ScorerState()


class DropIn:
    """The methods that all four classes have; each stands before the official class among its bases."""

    _wiring: Wiring
    _kept_context: Context | None = None
    _asks: ClassVar[type[GrpcScorer] | type[AsyncGrpcScorer]]
    _engine: ClassVar[Engine]
    _engine_error: ClassVar[tuple[type[Exception], ...]]

    def __init__(  # a keyword for each: whoever swaps an import shall not learn an object of ours first
        self,
        *args: Any,
        rescorer: str | Sequence[str] | Scorer | AsyncScorer | None = None,
        rescorer_credentials: Any = None,
        rescorer_metadata: Sequence[tuple[str, str]] = (),
        rescorer_hedge: hedge.Rule | None = None,
        rescorer_caller: str = "",
        rescorer_telemetry: Telemetry | Sequence[Telemetry] = (),
        profile_ttl_s: float = 60.0,
        **kwargs: Any,
    ) -> None:
        listeners = (rescorer_telemetry,) if isinstance(rescorer_telemetry, Telemetry) else tuple(rescorer_telemetry)
        rule, metadata = hedge.checked(rescorer_hedge), (*rescorer_metadata, *channels.said_by(rescorer_caller))
        sidecar = Sidecar(rescorer, rescorer_credentials, metadata, rule, profile_ttl_s, listeners)
        self._wiring = sidecar.wired(self._asks)
        super().__init__(*args, **kwargs)

    @property
    def rescorer(self) -> Rescorer:
        """What this client does for its searches, ``explain(…)``, and what it knows of its sidecars, ``state()``."""
        return Rescorer(self)

    def search(self, *args: Any, **kwargs: Any) -> Any:
        """The engine's ``search``, rescored where its request or its index's profile asks for it.

        A rescored answer holds its outcome under ``rescore``. Raises InvalidSetting, before anything is sent, where
        what it says about rescoring is wrong; a ScorerError under ``on_failure: "error"``; the engine's own errors.
        """
        return self._drop_in("search", flow.search, args, kwargs)

    def msearch(self, *args: Any, **kwargs: Any) -> Any:
        """The engine's ``msearch``: each search rescored on its own terms, as :meth:`search`, in one round trip."""
        return self._drop_in("msearch", many.msearch, args, kwargs)

    def search_template(self, *args: Any, **kwargs: Any) -> Any:
        """The engine's ``search_template``; where it is to be rescored, filled in first and then searched."""
        return self._drop_in("search_template", flow.search_template, args, kwargs)

    def msearch_template(self, *args: Any, **kwargs: Any) -> Any:
        """The engine's ``msearch_template``, each of its searches as :meth:`search_template`."""
        return self._drop_in("msearch_template", many.msearch_template, args, kwargs)

    def hybrid_search(  # its keywords are those of ``search``, which takes them one by one too
        self,
        index: str,
        text: str,
        *,
        filter: Any = None,  # noqa: A002 - the engine's word
        size: int = 10,
        from_: int = 0,
        rescore: Mapping[str, Any] | None = None,
        rescored: bool = True,
        **options: Any,
    ) -> Any:
        """Ask the index's hybrid query (BM25 and kNN, fused as its profile says), then rescore.

        filter: a query, or a list of them, for both halves. rescore: settings of this call, over the profile's.
        options: keywords of ``search``; ``body`` holds further keys such as ``aggs``. Raises InvalidProfile where
        the index does not say how to ask it, and otherwise as ``search``.
        """
        talk = self._talk({**options, "index": index})
        body = talk.call.body
        wanted = hybrid.Wanted(
            text=text,
            filter=filter,
            page=Page(from_, size),
            rescore=rescore,
            rescored=rescored,
            extra={} if body is None else body,
            options=talk.call.options,
        )
        return self._told(talk, flow.hybrid_search(wanted, self._context()), "hybrid_search")

    def embed(self, texts: Sequence[str], kind: EmbedKind = "document", *, timeout_s: float = 60.0) -> Any:
        """One unit vector per text, from the sidecar's default embedder, within ``timeout_s``; raises ScorerError."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InvalidSetting("texts", texts, "must be a list of strings")
        wish = Embed(EmbedRequest(texts=tuple(texts), kind=kind), timeout_s)
        return self._told(self._talk({}), _only(wish), "embed")

    def rescore_counts(self) -> dict[str, int]:
        """How many answers of this client had which outcome, by ``status`` or ``status:reason``."""
        return self._wiring.tally.counts()

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()  # a tuple where a subclass has slots
        held, *slots = state if isinstance(state, tuple) else (state,)
        kept = {name: value for name, value in held.items() if name != "_kept_context"}  # it is about this very client
        return (kept, *slots) if slots else kept

    def _drop_in(
        self, name: str, story: Callable[[Call, Context], Flow[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if args:
            return self._official(name)(*args, **kwargs)  # which says what is wrong with that
        talk = self._talk(kwargs, name)
        return self._told(talk, story(talk.call, self._context()), name)

    def _point_in_time(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return self._official(name)(*args, **kwargs)
        return self._told(self._talk({}), flow.open_point_in_time(Call(None, kwargs), self._context()), name)

    def _told(self, talk: Talk, story: Flow[Any], name: str) -> Any:
        wiring = self._wiring
        doors, listeners = Doors(talk.door, wiring.scorer, talk.received, wiring.afterwards), wiring.telemetry
        replied = _replied(story, talk)
        return self._drive(told(replied, name, listeners) if listeners else replied, doors)

    def _official(self, name: str) -> Callable[..., Any]:
        space, _, method = name.rpartition(".")
        found: Any = getattr(self, space) if space else super()
        return getattr(found, method)  # type: ignore[no-any-return]  # the official method of that name

    def _context(self) -> Context:
        """The context of this client; made anew only where its own time limit has changed."""
        kept, timeout_s = self._kept_context, self._timeout_s()
        if kept is None or kept.timeout_s != timeout_s:
            kept = self._kept_context = self._new_context(timeout_s)
        return kept

    def _new_context(self, timeout_s: float) -> Context:
        wiring = self._wiring
        return Context(
            clock=time.monotonic,
            now=time.time,
            profiles=wiring.profiles,
            lot=random.random,
            note=wiring.tally.note,
            audited=wiring.tally.audited,
            has_scorer=wiring.scorer is not None,
            timeout_s=timeout_s,
            engine=self._engine,
            refused=self._refused,
            engine_error=self._engine_error,
        )

    def _talk(self, kwargs: Mapping[str, Any], name: str = "search") -> Talk:  # noqa: ARG002 - told where it matters
        return Talk(self._official, kwargs)

    def _timeout_s(self) -> float:
        raise NotImplementedError

    def _refused(self, item: Mapping[str, Any]) -> Exception:
        raise NotImplementedError

    def _drive(self, story: Flow[Any], doors: Doors) -> Any:
        raise NotImplementedError


class SyncDropIn(DropIn):
    """Runs its stories in the caller's thread."""

    _asks = GrpcScorer

    def close(self) -> None:
        """Close the connections to the engine and to the sidecar; a Scorer that was handed in stays open."""
        self._official("close")()
        if isinstance(self._wiring.own, GrpcScorer):
            self._wiring.own.close()

    def _drive(self, story: Flow[Any], doors: Doors) -> Any:
        return run(story, doors)


class AsyncDropIn(DropIn):
    """Runs its stories in the event loop; each method returns an awaitable."""

    _asks = AsyncGrpcScorer

    async def close(self) -> None:
        """Close the connections to the engine and to the sidecar; a scorer that was handed in stays open."""
        await self._official("close")()
        if isinstance(self._wiring.afterwards, AsyncAfterwards):
            await self._wiring.afterwards.close()
        if isinstance(self._wiring.own, AsyncGrpcScorer):
            await self._wiring.own.close()

    def _drive(self, story: Flow[Any], doors: Doors) -> Any:
        return run_async(story, doors)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The arguments that our constructors have beside the official ones; ``rescorer``: addresses, or a scorer."""

    rescorer: Any
    credentials: Any
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    hedging: hedge.Rule | None
    profile_ttl_s: float
    telemetry: tuple[Telemetry, ...] = ()

    def wired(self, kind: type[GrpcScorer] | type[AsyncGrpcScorer]) -> Wiring:
        """What a client holds for it; ``kind`` of scorer asks a sidecar that is named by its address."""
        own, handed_in = None, self.rescorer
        if isinstance(handed_in, str | list | tuple):
            given = self.credentials or from_environment(os.environ)
            named = secure.targets(handed_in, given, self.metadata)
            own, handed_in = kind(named, hedging=self.hedging), None
        elif not (handed_in is None or isinstance(handed_in, Scorer)):
            mend = "must be host:port, a list of such addresses, or a scorer with score, score_many and embed"
            raise InvalidSetting("rescorer", handed_in, mend)
        profiles, again = ProfileCache(self.profile_ttl_s), partial(self.wired, kind)
        afterwards = Afterwards() if kind is GrpcScorer else AsyncAfterwards()
        return Wiring(own or handed_in, own, profiles, again, self.telemetry, Tally(self.telemetry), afterwards)


DropIn._wiring = Sidecar(None, None, (), None, 60.0).wired(GrpcScorer)
"""What an application's stand-in has whose class never calls our constructor: no scorer, so it only passes on."""


def like(official: Any) -> Callable[[type[DropIn]], type[DropIn]]:
    """Give constructor and replaced methods the official signatures and type hints, for editors, mocks and such."""
    return partial(signatures.like, official, DropIn.__init__, (*REPLACED, *EXTENDED))


def _replied(story: Flow[Any], talk: Talk) -> Flow[Any]:
    return talk.reply((yield from story))


def _only(effect: Effect) -> Flow[Any]:
    return (yield effect)
