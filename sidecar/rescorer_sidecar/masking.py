"""What stands instead of a secret wherever settings are shown: in the first line of output, in errors, in logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

HIDDEN = "***"


def url(text: str) -> str:
    """An address without its password and without its query, which may hold one too; whole where it is no address.

    The password may hold anything that should be escaped, so all before the last @ is user and password.
    """
    scheme, is_address, rest = text.partition("://")
    if not is_address or not scheme.isalpha():
        return whole(text)
    user, has_user, place = rest.rpartition("@")
    name, has_password, _ = user.partition(":")
    place, has_query, _ = place.partition("?")
    return f"{scheme}://{name}" + f":{HIDDEN}" * bool(has_password) + has_user + place + f"?{HIDDEN}" * bool(has_query)


def whole(text: str) -> str:
    """Nothing of it, but whether there is any."""
    return HIDDEN if text else ""


MASKS: Mapping[str, Callable[[str], str]] = {"shared_cache": url, "shared_cache_secret": whole}
"""Settings that hold a secret, and how each is shown."""


def shown(name: str, value: object) -> object:
    """A setting's value as it may be shown; of one that is secret nothing where it isn't even text."""
    mask = MASKS.get(name)
    if mask is None:
        return value
    return mask(value) if isinstance(value, str) else HIDDEN
