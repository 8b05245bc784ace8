"""What a call is known by in logs and traces: its request id, and the trace that it belongs to if its caller has one.

The id comes from the caller's ``x-request-id``, else it is made here; the trace from W3C's ``traceparent``. Both go
into log lines, so both are bounded in length and alphabet.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

REQUEST_ID_KEY = "x-request-id"
TRACE_KEY = "traceparent"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/=+@-]{0,63}")
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Mark:
    """One call's names; empty where it has none."""

    request_id: str = ""
    trace_id: str = ""


NOBODY = Mark()
MARK: ContextVar[Mark] = ContextVar("mark of the call", default=NOBODY)
"""The call that runs here."""


def mark_of(metadata: Mapping[str, str]) -> Mark:
    """What this call is known by; an id that is too long, or holds other characters, is replaced by one of ours."""
    given, trace = metadata.get(REQUEST_ID_KEY, ""), _TRACE.fullmatch(metadata.get(TRACE_KEY, ""))
    request_id = given if _ID.fullmatch(given) else secrets.token_hex(8)
    return Mark(request_id, trace.group(1) if trace else "")
