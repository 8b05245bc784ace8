"""The drop-in for opensearch-py: ``from rescorer.opensearch import OpenSearch`` instead of ``from opensearchpy …``.

Both classes are the official ones with another ``search``, ``msearch``, ``search_template`` and ``msearch_template``,
and with ``hybrid_search``, ``embed`` and ``rescorer`` beside them. A search that asks for no rescoring, by its request
or by its index's profile, passes through as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rescorer.dropin import DEFAULT_TIMEOUT_S, AsyncDropIn, DropIn, SyncDropIn, like
from rescorer.errors import MissingExtra

try:
    from opensearchpy import AsyncOpenSearch as _AsyncOpenSearch  # there only with aiohttp, which the extra brings
    from opensearchpy import OpenSearch as _OpenSearch
    from opensearchpy import OpenSearchException, TransportError
    from opensearchpy.exceptions import HTTP_EXCEPTIONS
except ImportError as error:
    raise MissingExtra("opensearch-py", "opensearch") from error


class _OpenSearchDropIn(DropIn):
    """What only OpenSearch's client does so."""

    _engine = "opensearch"
    _engine_error = (OpenSearchException,)
    _own_timeout_s = DEFAULT_TIMEOUT_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        timeout = kwargs.get("timeout")
        self._own_timeout_s = float(timeout) if isinstance(timeout, int | float) and timeout > 0 else DEFAULT_TIMEOUT_S

    def create_pit(self, *args: Any, **kwargs: Any) -> Any:
        """The engine's ``create_pit``; a search of it has the profile of the indices that it is of."""
        return self._point_in_time("create_pit", args, kwargs)

    def _timeout_s(self) -> float:
        return self._own_timeout_s

    def _refused(self, item: Mapping[str, Any]) -> Exception:
        status, said = item.get("status", 500), item["error"]
        kind = said.get("type", said) if isinstance(said, Mapping) else said
        found: Exception = HTTP_EXCEPTIONS.get(status, TransportError)(status, kind, dict(item))
        return found


@like(_OpenSearch)
class OpenSearch(_OpenSearchDropIn, SyncDropIn, _OpenSearch):
    """``opensearchpy.OpenSearch`` with rescoring; every other argument and method is the official one.

    rescorer: the sidecar as ``"host:port"``, several as a list, a Scorer of your own, or None: then nothing is
    rescored, and a search that asks for it says so. rescorer_credentials: a
    :class:`rescorer.credentials.Credentials` for TLS and tokens; None takes what the environment says.
    rescorer_metadata: sent with each call, such as ``(("authorization", "Bearer …"),)``. rescorer_hedge: after how many
    milliseconds, or ``"p95"``, a late call gets a twin at another sidecar. rescorer_caller: who asks, by which
    sidecars share their time evenly. profile_ttl_s: how long a profile is kept.
    """


@like(_AsyncOpenSearch)
class AsyncOpenSearch(_OpenSearchDropIn, AsyncDropIn, _AsyncOpenSearch):
    """``opensearchpy.AsyncOpenSearch`` with rescoring; arguments as for :class:`OpenSearch`, with an AsyncScorer."""
