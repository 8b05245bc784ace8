"""The drop-in for opensearch-py: ``from rescorer.opensearch import OpenSearch`` instead of ``from opensearchpy …``.

Both classes are the official ones with another ``search``, and with ``hybrid_search`` and ``embed`` beside it. A
search that asks for no rescoring, by its body or by its index's profile, passes through as it is.

## Decisions
2026-11-21: ``hybrid_search`` takes its seven settings one by one, as the engines' ``search`` does, so that a call reads
like the calls beside it; both classes hand them on as one value.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rescorer import flow, hybrid, request
from rescorer.domain import Call, Embed, EmbedKind, EmbedRequest
from rescorer.drive import Doors, run, run_async
from rescorer.errors import InvalidSetting, MissingExtra, ProfileUnreadable
from rescorer.flow import Context
from rescorer.pages import Page
from rescorer.profiles import ProfileCache
from rescorer.scorers import AsyncScorer, Scorer
from rescorer.scorers.channels import Target
from rescorer.scorers.grpc import AsyncGrpcScorer, GrpcScorer
from rescorer.telemetry import Tally

try:
    import opensearchpy
    from opensearchpy import AsyncOpenSearch as _AsyncOpenSearch  # there only with aiohttp, which the extra brings
    from opensearchpy import AsyncTransport, Transport
    from opensearchpy import OpenSearch as _OpenSearch
except ImportError as error:
    raise MissingExtra("opensearch-py", "opensearch") from error

DEFAULT_TIMEOUT_S = 10.0
"""opensearch-py's own."""


class OpenSearch(_OpenSearch):
    """``opensearchpy.OpenSearch`` with rescoring; every other argument and method is the official one.

    rescorer: the sidecar as ``"host:port"``, a Scorer of your own, or None: then nothing is rescored, and a search
    that asks for it says so. rescorer_credentials: ``grpc.ssl_channel_credentials(…)`` for TLS. rescorer_metadata:
    sent with each call, such as ``(("authorization", "Bearer …"),)``. profile_ttl_s: how long a profile is kept.
    """

    def __init__(
        self,
        hosts: Any = None,
        transport_class: Any = Transport,
        *,
        rescorer: str | Scorer | None = None,
        rescorer_credentials: Any = None,
        rescorer_metadata: Sequence[tuple[str, str]] = (),
        profile_ttl_s: float = 60.0,
        **kwargs: Any,
    ) -> None:
        self._own_scorer: GrpcScorer | None = None
        if isinstance(rescorer, str):
            target = Target(address=rescorer, credentials=rescorer_credentials, metadata=tuple(rescorer_metadata))
            rescorer = self._own_scorer = GrpcScorer(target)
        super().__init__(hosts, transport_class, **kwargs)
        self._tally = Tally()
        self._context = _context(self._tally, rescorer is not None, profile_ttl_s, kwargs.get("timeout"))
        self._doors = Doors(search=self._engine_search, read_mapping=self._read_mapping, scorer=rescorer)

    def search(self, *, body: Any = None, **options: Any) -> Any:
        """The engine's ``search``, rescored where its body or its index's profile asks for it.

        A rescored answer holds its outcome under ``rescore``. Raises InvalidSetting, before anything is sent, where
        ``rescore.cross_encoder`` is wrong; a ScorerError under ``on_failure: "error"``; the engine's own errors.
        """
        return run(flow.search(Call(body, options), self._context), self._doors)

    def hybrid_search(
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
        """Ask the index's hybrid query (BM25 and kNN, fused by its search pipeline), then rescore.

        filter: a query, or a list of them, for both halves. rescore: settings of this call, over the profile's.
        options: keywords of ``search``; ``body`` holds further keys such as ``aggs``. Raises InvalidProfile where
        the index does not say how to ask it, and otherwise as ``search``.
        """
        how = {"filter": filter, "page": Page(from_, size), "rescore": rescore, "rescored": rescored}
        wanted = _wanted(index, text, how, options)
        return run(flow.hybrid_search(wanted, self._context), self._doors)

    def embed(
        self, texts: Sequence[str], kind: EmbedKind = "document", *, timeout_s: float = 60.0
    ) -> list[list[float]]:
        """One unit vector per text, from the sidecar's default embedder, within ``timeout_s``; raises ScorerError."""
        found: list[list[float]] = self._doors.perform(_embedding(texts, kind, timeout_s))
        return found

    def msearch(self, *, body: Any, **options: Any) -> Any:
        """The engine's ``msearch``; InvalidSetting where one of its searches asks for rescoring."""
        request.refuse_in_msearch(body)
        return super().msearch(body=body, **options)

    def rescore_counts(self) -> dict[str, int]:
        """How many answers of this client had which outcome, by ``status`` or ``status:reason``."""
        return self._tally.counts()

    def close(self) -> None:
        """Close the connections to the engine and to the sidecar; a Scorer that was handed in stays open."""
        super().close()
        if self._own_scorer is not None:
            self._own_scorer.close()

    def _engine_search(self, call: Call) -> Any:
        return super().search(body=call.body, **call.options)

    def _read_mapping(self, options: Mapping[str, Any]) -> Any:
        try:
            return self.indices.get_mapping(**options)
        except opensearchpy.OpenSearchException as error:
            raise _unreadable(options, error) from error


class AsyncOpenSearch(_AsyncOpenSearch):
    """``opensearchpy.AsyncOpenSearch`` with rescoring; arguments as for :class:`OpenSearch`, with an AsyncScorer."""

    def __init__(
        self,
        hosts: Any = None,
        transport_class: Any = AsyncTransport,
        *,
        rescorer: str | AsyncScorer | None = None,
        rescorer_credentials: Any = None,
        rescorer_metadata: Sequence[tuple[str, str]] = (),
        profile_ttl_s: float = 60.0,
        **kwargs: Any,
    ) -> None:
        self._own_scorer: AsyncGrpcScorer | None = None
        if isinstance(rescorer, str):
            target = Target(address=rescorer, credentials=rescorer_credentials, metadata=tuple(rescorer_metadata))
            rescorer = self._own_scorer = AsyncGrpcScorer(target)
        super().__init__(hosts, transport_class, **kwargs)
        self._tally = Tally()
        self._context = _context(self._tally, rescorer is not None, profile_ttl_s, kwargs.get("timeout"))
        self._doors = Doors(search=self._engine_search, read_mapping=self._read_mapping, scorer=rescorer)

    async def search(self, *, body: Any = None, **options: Any) -> Any:
        """As :meth:`OpenSearch.search`."""
        return await run_async(flow.search(Call(body, options), self._context), self._doors)

    async def hybrid_search(
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
        """As :meth:`OpenSearch.hybrid_search`."""
        how = {"filter": filter, "page": Page(from_, size), "rescore": rescore, "rescored": rescored}
        wanted = _wanted(index, text, how, options)
        return await run_async(flow.hybrid_search(wanted, self._context), self._doors)

    async def embed(
        self, texts: Sequence[str], kind: EmbedKind = "document", *, timeout_s: float = 60.0
    ) -> list[list[float]]:
        """As :meth:`OpenSearch.embed`."""
        found: list[list[float]] = await self._doors.perform(_embedding(texts, kind, timeout_s))
        return found

    async def msearch(self, *, body: Any, **options: Any) -> Any:
        """As :meth:`OpenSearch.msearch`."""
        request.refuse_in_msearch(body)
        return await super().msearch(body=body, **options)

    def rescore_counts(self) -> dict[str, int]:
        """As :meth:`OpenSearch.rescore_counts`."""
        return self._tally.counts()

    async def close(self) -> None:
        """As :meth:`OpenSearch.close`."""
        await super().close()
        if self._own_scorer is not None:
            await self._own_scorer.close()

    async def _engine_search(self, call: Call) -> Any:
        return await super().search(body=call.body, **call.options)

    async def _read_mapping(self, options: Mapping[str, Any]) -> Any:
        try:
            return await self.indices.get_mapping(**options)
        except opensearchpy.OpenSearchException as error:
            raise _unreadable(options, error) from error


def _context(tally: Tally, has_scorer: bool, profile_ttl_s: float, timeout_s: Any) -> Context:
    is_number = isinstance(timeout_s, int | float) and timeout_s > 0
    return Context(
        clock=time.monotonic,
        profiles=ProfileCache(profile_ttl_s),
        note=tally.note,
        has_scorer=has_scorer,
        timeout_s=float(timeout_s) if is_number else DEFAULT_TIMEOUT_S,
    )


def _wanted(index: str, text: str, how: Mapping[str, Any], options: Mapping[str, Any]) -> hybrid.Wanted:
    kept = {key: value for key, value in options.items() if key != "body"}
    return hybrid.Wanted(text=text, extra=options.get("body") or {}, options={**kept, "index": index}, **how)


def _embedding(texts: Sequence[str], kind: EmbedKind, timeout_s: float) -> Embed:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise InvalidSetting("texts", texts, "must be a list of strings")
    return Embed(EmbedRequest(texts=tuple(texts), kind=kind), timeout_s)


def _unreadable(options: Mapping[str, Any], error: Exception) -> ProfileUnreadable:
    said = " ".join(str(error).split())
    return ProfileUnreadable(f"the mapping of {options['index']} can't be read: {said}")
