"""How a client knows its sidecars and proves who it is, as values; :mod:`rescorer.scorers.channels` speaks them.

    OpenSearch(…, rescorer="scores.internal:50051", rescorer_credentials=Credentials(roots="ca.pem", token="…"))

A client that is given none reads them from the environment when it is made: ``RESCORER_TLS_ROOTS``,
``RESCORER_TLS_CERTIFICATE``, ``RESCORER_TLS_KEY``, ``RESCORER_TLS_SERVER_NAME``, ``RESCORER_TOKEN`` or
``RESCORER_TOKEN_FILE``, ``RESCORER_INSECURE``.

## Decisions
2026-11: a token does not leave this machine unencrypted unless ``insecure`` says so. It is as good as a password, and
who reads it on the way may use it until somebody notices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rescorer.errors import InvalidCredentials

SYSTEM = "system"
"""Instead of a file: whom gRPC trusts by itself."""

_TOKEN = re.compile(r"[!-~]+")
_TLS = "RESCORER_TLS_"
VARIABLES = {
    "roots": f"{_TLS}ROOTS",
    "certificate": f"{_TLS}CERTIFICATE",
    "key": f"{_TLS}KEY",
    "server_name": f"{_TLS}SERVER_NAME",
    "token": "RESCORER_TOKEN",
    "token_file": "RESCORER_TOKEN_FILE",
    "insecure": "RESCORER_INSECURE",
}
"""The variable of the environment for each field."""


_ROOTS = f'needs roots: a file, or "{SYSTEM}" for those that gRPC trusts by itself'
_NEEDS = (
    ("certificate", "key", "stands without key; mutual TLS needs both"),
    ("key", "certificate", "stands without certificate; mutual TLS needs both"),
    ("certificate", "roots", _ROOTS),
    ("server_name", "roots", _ROOTS),
)
"""A field, the one that it is nothing without, and what to say then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What is checked of a sidecar, and what it is shown. InvalidCredentials where the parts do not fit together.

    roots: PEM file with the authorities of sidecars' certificates, or ``"system"``; empty speaks plain text.
    certificate, key: PEM files of the client's own, for mutual TLS.
    token, token_file: the bearer token, or a file that holds it and nothing else. Neither is ever shown.
    server_name: the name that a sidecar's certificate bears, where it is not that of the address.
    insecure: lets the token travel in plain text to another machine.
    """

    roots: str = ""
    certificate: str = ""
    key: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    server_name: str = ""
    insecure: bool = False

    def __post_init__(self) -> None:
        for name, other, mend in _NEEDS:
            if getattr(self, name) and not getattr(self, other):
                raise _wrong(name, mend)
        if self.token and self.token_file:
            raise _wrong("token_file", "stands beside token; leave one of the two out")
        if self.token and not _TOKEN.fullmatch(self.token):
            raise _wrong("token", "must be printable ASCII characters without spaces")

    def bearer(self) -> str:
        """The token, read from its file if it is in one; empty where there is none."""
        if not self.token_file:
            return self.token
        token = content("token_file", self.token_file).decode("ascii", "replace").strip()
        if not _TOKEN.fullmatch(token):
            raise _wrong("token_file", f"{self.token_file} must hold one token and nothing else")
        return token


def from_environment(environment: Mapping[str, str]) -> Credentials | None:
    """What the variables say, None where they say nothing; a variable that is no setting is an error."""
    for variable in environment:
        if variable.startswith(_TLS) and variable not in VARIABLES.values():
            known = ", ".join(name for name in VARIABLES.values() if name.startswith(_TLS))
            raise InvalidCredentials(variable, f"is no setting; known: {known}")
    found = {name: environment[variable] for name, variable in VARIABLES.items() if environment.get(variable)}
    if not found:
        return None
    insecure = found.pop("insecure", "false").lower()
    if insecure not in ("true", "false"):
        raise InvalidCredentials(VARIABLES["insecure"], "must be true or false")
    return Credentials(**found, insecure=insecure == "true") if found else None


def content(name: str, path: str) -> bytes:
    """A file's bytes; InvalidCredentials names the field and the path."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _wrong(name, f"{path}: {error.strerror}") from error


def _wrong(name: str, mend: str) -> InvalidCredentials:
    return InvalidCredentials(f"rescorer_credentials.{name}", mend)
