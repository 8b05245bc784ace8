"""Tokens: how they are made, kept as hashes in a file, and known again.

The file is TOML; ``rescorer sidecar token`` writes it, and people may::

    key = "…"            # of the hashes, 64 hexadecimal digits

    [[token]]
    name = "shop"        # what the caller is called in fair shares, quotas and metrics
    hash = "…"
    doors = ["score"]    # score, metrics, admin

    [quota.shop]         # instead of the settings quota_pairs_per_s and quota_tokens_per_s
    pairs_per_s = 2000
    tokens_per_s = 0     # 0 bounds nothing

A name may have several tokens, so that one can be put in another's place while both are good.

## Decisions
2026-11: a keyed BLAKE2b and no slow hash. Slow hashes protect words that people think of; these tokens are 256 random
bits, which no guessing reaches. A slow hash would cost each honest call tens of milliseconds, or a table of what was
proved in memory, and would let whoever knocks with rubbish spend our processor time. The key keeps hashes of two files
from being compared, and tables that were made beforehand from being of use.
2026-11: a call's hash is compared with every token's, each in constant time, so that time tells neither how much of a
hash was right nor whose token it was. A thousand tokens cost 0.2 ms.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from rescorer_sidecar.errors import ConfigError
from rescorer_sidecar.quotas import Quota

Door = Literal["score", "metrics", "admin"]
DOORS: tuple[Door, ...] = get_args(Door)
PREFIX = "rescorer_"
"""Begins every token, so that those who look for secrets in files find it."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
NAMED = "must be 1 to 64 letters, digits and . _ -, beginning with a letter or digit"


@dataclass(frozen=True, slots=True)
class Token:
    """One token as the file has it; ``digest`` is its hash."""

    name: str
    digest: bytes = field(repr=False)
    doors: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tokens:
    """All tokens of one file."""

    key: bytes = field(repr=False)
    entries: tuple[Token, ...]
    quotas: Mapping[str, Quota]

    def owner(self, token: str) -> Token | None:
        """The entry of this token; None where it is nobody's. Takes as long whoever's it is."""
        digest = hashed(token, self.key)
        found = None
        for entry in self.entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        return found


def made() -> str:
    """A new token of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(token: str, key: bytes) -> bytes:
    """What stands in the file for a token."""
    return hashlib.blake2b(token.encode("utf-8", "replace"), key=key, digest_size=32).digest()


def read(path: str) -> Tokens:
    """The tokens of a file; ConfigError says which entry is wrong and what mends it."""
    where = f"tokens_file {path}"
    try:
        return parsed(Path(path).read_text(encoding="utf-8"), where)
    except OSError as error:
        mend = "make it with: rescorer sidecar token NAME --file tokens.toml"
        raise ConfigError(f"{where}: {error.strerror}; {mend}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is no text") from error


def parsed(text: str, where: str) -> Tokens:
    """The tokens that a file's text holds; ``where`` begins the ConfigError that says what is wrong with it."""
    table = _table(text, where)
    _known(table, ("key", "token", "quota"), where)
    key = _hex(table.get("key"), f"{where}: key")
    entries = table.get("token", [])
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{where}: holds no [[token]]; add one with: rescorer sidecar token NAME --file {where}")
    known = tuple(_token(entry, f"{where}: token {place}") for place, entry in enumerate(entries, 1))
    return Tokens(key, known, _quotas(table.get("quota", {}), f"{where}: quota"))


def key_of(text: str, where: str) -> bytes:
    """The key of a file's hashes, also where it holds no token yet; ConfigError as for :func:`parsed`."""
    return _hex(_table(text, where).get("key"), f"{where}: key")


def entry(name: str, doors: Sequence[str], token: str, key: bytes) -> str:
    """The lines of a file that let a token in."""
    listed = ", ".join(f'"{door}"' for door in doors)
    return f'\n[[token]]\nname = "{name}"\nhash = "{hashed(token, key).hex()}"\ndoors = [{listed}]\n'


def _table(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML may hold more digits, or brackets, than Python reads
        raise ConfigError(f"{where}: {error}") from error


def _token(table: Any, where: str) -> Token:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a [[token]] with name, hash and doors")
    _known(table, ("name", "hash", "doors"), where)
    name, doors = table.get("name"), table.get("doors", ["score"])
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{where}: name {NAMED}")
    if not isinstance(doors, list) or not doors or not all(door in DOORS for door in doors):
        raise ConfigError(f"{where} ({name}): doors must be a list of {', '.join(DOORS)}")
    return Token(name, _hex(table.get("hash"), f"{where} ({name}): hash"), frozenset(doors))


def _quotas(tables: Any, where: str) -> Mapping[str, Quota]:
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigError(f"{where} must be tables, such as [quota.shop]")
    return {name: Quota(**_rates(table, f"{where}.{name}")) for name, table in tables.items()}


def _rates(table: Mapping[str, Any], where: str) -> dict[str, float]:
    _known(table, ("pairs_per_s", "tokens_per_s"), where)
    for name, rate in table.items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= sys.float_info.max:
            raise ConfigError(f"{where}.{name} must be a number, 0 or more; 0 bounds nothing")
    return {name: float(rate) for name, rate in table.items()}


def _hex(value: object, where: str) -> bytes:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise ConfigError(f"{where} must be 64 hexadecimal digits, as rescorer sidecar token writes them")
    return bytes.fromhex(value)


def _known(table: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for name in table:
        if name not in names:
            raise ConfigError(f"{where}: {name} is no key here; known: {', '.join(names)}")
