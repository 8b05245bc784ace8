"""Official signatures and type hints on methods of ours, for editors, type checkers, mocks and such."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, get_type_hints


def like(official: Any, constructor: Callable[..., Any], names: Iterable[str], ours: Any) -> Any:
    """Our class with the official class's signatures on the methods that are named, as far as that one has them.

    Its constructor takes the official parameters, and the keywords that ``constructor`` alone has.
    """
    for name in names:
        if hasattr(official, name):
            theirs = getattr(official, name)
            copy = _with_signature(getattr(ours, name), inspect.signature(theirs))
            copy.__annotations__ = _hints(theirs)
            setattr(ours, name, copy)
    joined = _joined(inspect.signature(official.__init__), inspect.signature(constructor))
    ours.__init__ = _with_signature(ours.__init__, joined)
    hints = _hints(constructor) | _hints(official.__init__)
    ours.__init__.__annotations__ = {name: hint for name, hint in hints.items() if name not in ("args", "kwargs")}
    return ours


def _with_signature(method: Any, signature: inspect.Signature) -> Callable[..., Any]:
    """A copy of the method, so that classes with different officials don't share one, and no call pays a wrapper."""
    copy = FunctionType(method.__code__, method.__globals__, method.__name__, method.__defaults__, method.__closure__)
    copy.__doc__, copy.__qualname__, copy.__module__ = method.__doc__, method.__qualname__, method.__module__
    copy.__kwdefaults__ = method.__kwdefaults__
    copy.__signature__ = signature  # type: ignore[attr-defined]  # inspect reads it from here
    return copy


def _hints(method: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(method, include_extras=True)
    except NameError:  # a name that only type checkers see
        return {}


def _joined(official: inspect.Signature, ours: inspect.Signature) -> inspect.Signature:
    """The official parameters, and the keywords that only we have."""
    own = {name: given for name, given in ours.parameters.items() if given.kind is inspect.Parameter.KEYWORD_ONLY}
    joined = sorted((official.parameters | own).values(), key=lambda given: given.kind)
    return official.replace(parameters=joined)
