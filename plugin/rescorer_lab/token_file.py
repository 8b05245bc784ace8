"""The sidecar's tokens file from an operator's side: a new token goes in as a hash."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from rescorer_lab.errors import LabError
from rescorer_sidecar import tokens
from rescorer_sidecar.errors import ConfigError

HEAD = """\
# Tokens of rescorer-sidecar, as hashes: docs/sidecar.md, "Who is let in". Read again when it changes; a token ends
# when its lines are taken out. The key belongs to the hashes: without it, none of them is worth anything.
key = "{key}"
"""
PRIVATE = 0o600


class TokenError(LabError):
    """A token could not be written into the file; the file is as it was."""


def added(path: Path, name: str, doors: Sequence[str]) -> str:
    """Make a token for ``name``, write its hash into the file, which is made if need be, and return the token.

    The file is replaced as a whole, so that a sidecar that reads it never sees half of it; its mode stays, a new one is
    its owner's alone. Raises TokenError.
    """
    if not tokens.NAME.fullmatch(name):
        raise TokenError(f"the name {name!r} {tokens.NAMED}")
    token = tokens.made()
    try:
        text, mode = _before(path)
        key = tokens.key_of(text, str(path))
        _replace(path, text + tokens.entry(name, doors, token, key), mode)
    except OSError as error:
        raise TokenError(f"{path}: {error.strerror}", "name a file that may be written with --file") from error
    except ConfigError as error:
        raise TokenError(str(error)) from error
    return token


def _before(path: Path) -> tuple[str, int]:
    if path.exists():
        return path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777
    return HEAD.format(key=secrets.token_hex(32)), PRIVATE


def _replace(path: Path, text: str, mode: int) -> None:
    tokens.parsed(text, str(path))
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "w", encoding="utf-8") as out:  # noqa: PTH123  # a descriptor, made with its mode
            out.write(text if text.endswith("\n") else f"{text}\n")
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
