"""Certificates of the doors: what each shows, whom it trusts, and how both change without a restart.

## Decisions
2026-11: Python's own TLS loads the files first, for HTTP's sake and as a check: gRPC takes a key that fits no
certificate without a word, and then no handshake succeeds.
2026-11: no session over HTTP is resumed (TLS 1.3 without tickets). A ticket would let a caller in whose authority was
taken out since; handshakes of probes and scrapers are few.
2026-11: when a certificate ends is read from a handshake of Python's TLS with itself, in memory. The standard library
reads dates of certificates nowhere else, and a package for it would be one more to trust.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import ConfigError
from rescorer_sidecar.watched import Watched

NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which has no name in Python."""


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of PEM files; ``client_ca`` empty asks callers for no certificate."""

    cert: str
    key: str
    client_ca: str = ""

    @property
    def named(self) -> tuple[str, ...]:
        """Those that are there."""
        return tuple(filter(None, (self.cert, self.key, self.client_ca)))


@dataclass(frozen=True, slots=True)
class Pair:
    """The files' contents, checked, and the context that Python's servers speak with.

    ends_s: when the certificate ends, in seconds since 1970; None where that could not be read.
    """

    cert: bytes
    key: bytes
    client_ca: bytes | None
    context: ssl.SSLContext
    ends_s: float | None


class Certificates:
    """The certificate of this process; ConfigError where its files can't be used at the start."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._watched = Watched(files.named, lambda: _pair(files))
        self.asks_callers = bool(files.client_ca)

    def current(self) -> Pair:
        """As the files are now."""
        return self._watched.current()

    def grpc(self) -> grpc.ServerCredentials:
        """For a gRPC server: each new connection gets what the files hold at that moment."""
        shown = self.current()

        def fetch() -> Any:
            nonlocal shown
            found = self.current()
            if found is shown:
                return None
            shown = found
            return _configuration(found)

        return grpc.dynamic_ssl_server_credentials(_configuration(shown), fetch, self.asks_callers)

    def context(self) -> ssl.SSLContext:
        """The same for asyncio's servers, where callers may come without a certificate: probes have none."""
        made = _pair(self._files).context  # one of its own: what handshakes begin with, not what they end with
        made.sni_callback = self._show
        return made

    def _show(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self.current().context


def of(settings: Settings) -> Certificates | None:
    """The certificates that the settings name, None where they name none; ConfigError where one lacks another."""
    files = Files(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    if not files.named:
        return None
    for name, path in (("tls_cert", files.cert), ("tls_key", files.key)):
        if not path:
            raise ConfigError(f"{name} is empty; a door that speaks TLS needs tls_cert and tls_key, both of them")
    return Certificates(files)


def _pair(files: Files) -> Pair:
    cert, key = _content("tls_cert", files.cert), _content("tls_key", files.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version, context.num_tickets = ssl.TLSVersion.TLSv1_3, 0
    try:
        context.load_cert_chain(files.cert, files.key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"tls_cert {files.cert} and tls_key {files.key} are no certificate and its key, both PEM and the key "
            f"without a password ({_short(error)})"
        ) from error
    ends_s = _ends_s(context, cert)
    if not files.client_ca:
        return Pair(cert, key, None, context, ends_s)
    authorities = _content("tls_client_ca", files.client_ca)
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"tls_client_ca {files.client_ca} holds no certificate in PEM ({_short(error)})") from error
    context.verify_mode = ssl.CERT_OPTIONAL
    return Pair(cert, key, authorities, context, ends_s)


def _ends_s(context: ssl.SSLContext, cert: bytes) -> float | None:
    """When a context's certificate ends, as a client hears it that trusts this very certificate at any time."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.load_verify_locations(cadata=cert.decode("ascii"))
        asking, answering = client.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True)
        for end in (asking, answering, asking):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
        told = asking.getpeercert()
    except (OSError, ValueError):
        return None
    return float(ssl.cert_time_to_seconds(str(told["notAfter"]))) if told else None


def _configuration(pair: Pair) -> Any:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.cert)], pair.client_ca)


def _content(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting} {path}: {error.strerror}; name a file that the sidecar may read") from error


def _no_password() -> str:
    raise ValueError("the key has a password")


def _short(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
