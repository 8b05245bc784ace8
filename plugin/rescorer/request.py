"""What one search says: its URL parameters over its body, and what it asks of us, taken out of what is sent on.

Both engines refuse a rescorer that they do not know, so ``cross_encoder`` never leaves the client; the engine's own
rescorers beside it stay where they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rescorer import config
from rescorer.domain import Call
from rescorer.errors import InvalidSetting

KEY = "cross_encoder"
_FROM_NAMES = ("from_", "from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One search, read.

    call: what is sent where nothing is rescored: the caller's own call, without our key where it held one.
    body: the body of ``call`` as a mapping, empty where there is none.
    said: the request's own settings, checked; None where it says nothing about rescoring.
    """

    call: Call
    body: Mapping[str, Any]
    said: Mapping[str, Any] | None

    def option(self, *names: str) -> Any:
        """The first of these URL parameters that was given, as a keyword or in ``params``; else None."""
        places: tuple[Mapping[str, Any], ...] = (self.call.options, self.call.options.get("params") or {})
        return next((place[name] for place in places for name in names if place.get(name) is not None), None)

    def setting(self, name: str) -> Any:
        """A value that may stand in the URL or in the body; the URL wins, as in the engine."""
        of_url = self.option(*(_FROM_NAMES if name == "from" else (name,)))
        return self.body.get(name) if of_url is None else of_url


def read(call: Call) -> Asked:
    """Read a search; raises InvalidSetting with the JSON path where ``cross_encoder`` is wrong.

    The caller's body is never changed, and where it holds no ``cross_encoder`` the very same object goes on.
    """
    body = _as_mapping(call.body)
    place, entry = _entry(body.get("rescore"))
    if entry is None:
        return Asked(call=call, body=body, said=None)
    said = _said(entry, place)
    sent = {key: value for key, value in body.items() if key != "rescore"} | _native(body["rescore"], entry, place)
    return Asked(call=Call(sent, call.options), body=sent, said=said)


def without_page(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords without ``size`` and ``from``, which would override what the body asks for."""
    cut = {key: value for key, value in options.items() if key not in ("size", *_FROM_NAMES)}
    if cut.get("params"):
        cut["params"] = {key: value for key, value in cut["params"].items() if key not in ("size", *_FROM_NAMES)}
    return cut


def refuse_in_msearch(body: Any) -> None:
    """Raise InvalidSetting where a search of an ``msearch`` asks for rescoring, which only ``search`` does so far."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    lines = text.splitlines() if isinstance(text, str) else text
    for place, line in enumerate(lines if isinstance(lines, list | tuple) else ()):
        where, entry = _entry(_as_mapping(line).get("rescore"))
        if entry is not None:
            path = f"body[{place}].{where}.{KEY}"
            raise InvalidSetting(path, entry[KEY], "is not supported in msearch yet; send this one with search")


def _as_mapping(body: Any) -> Mapping[str, Any]:
    if isinstance(body, str | bytes):
        try:
            body = json.loads(body)
        except ValueError:
            return {}  # the engine says what is wrong with it
    return body if isinstance(body, Mapping) else {}


def _entry(rescore: Any) -> tuple[str, Mapping[str, Any] | None]:
    """The one rescorer that holds our key and its JSON path; None where there is none."""
    listed = rescore if isinstance(rescore, list | tuple) else [rescore]
    ours = [
        (f"rescore[{place}]" if listed is rescore else "rescore", entry)
        for place, entry in enumerate(listed)
        if isinstance(entry, Mapping) and KEY in entry
    ]
    if len(ours) > 1:
        raise InvalidSetting(f"{ours[1][0]}.{KEY}", ours[1][1][KEY], "is the second one; a search takes one")
    return ours[0] if ours else ("", None)


def _said(entry: Mapping[str, Any], path: str) -> dict[str, Any]:
    asked, beside = entry[KEY], {key: entry[key] for key in ("window_size",) if key in entry}
    if isinstance(asked, bool):
        return config.parse({**beside, "enabled": asked}, path)
    if not isinstance(asked, Mapping):
        raise InvalidSetting(f"{path}.{KEY}", asked, "must be an object, true or false")
    for key, value in entry.items():
        if key not in (KEY, "window_size") and not isinstance(value, Mapping):
            raise InvalidSetting(f"{path}.{key}", value, f"is unknown here; beside {KEY} stands window_size")
    return config.parse(beside, path) | config.parse(asked, f"{path}.{KEY}")


def _native(rescore: Any, entry: Mapping[str, Any], place: str) -> dict[str, Any]:
    """``rescore`` as the engine may see it: nothing, or its own rescorers."""
    rest = {key: value for key, value in entry.items() if key != KEY}
    kept = [rest] if rest.keys() - {"window_size"} else []
    if place == "rescore":
        return {"rescore": kept[0]} if kept else {}
    listed = [other for old in rescore for other in (kept if old is entry else [old])]
    return {"rescore": listed} if listed else {}
