"""Who is let in: one :class:`Security` for all doors of a process, made of settings.

## Decisions
2026-11: a sidecar that asks nobody who he is listens on this machine alone. Texts of an index, and time of a GPU, are
then open to whoever reaches the port; an operator who wants that says ``insecure``.
2026-11: the admin door is for tokens that name it. A certificate proves that somebody belongs to the house, which is
enough to score and not enough to change models.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from rescorer_sidecar import tls, tokens
from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import ConfigError, NotLetIn, WrongDoor
from rescorer_sidecar.quotas import NO_QUOTA, Quota
from rescorer_sidecar.tokens import Door, Tokens
from rescorer_sidecar.watched import Watched

AUTHORIZATION = "authorization"
MEND = "rescorer_credentials=Credentials(token=…) or RESCORER_TOKEN of a client sends one"


@dataclass(frozen=True, slots=True)
class Security:
    """What the doors ask for; neither certificates nor tokens where they are open to all who reach them."""

    certificates: tls.Certificates | None = None
    tokens: Watched[Tokens] | None = None
    usual: Quota = NO_QUOTA

    def quota(self, caller: str) -> Quota:
        """What this caller may ask for: as the tokens file says, else as for everybody."""
        special = self.tokens.current().quotas.get(caller) if self.tokens else None
        return special or self.usual

    @property
    def asks_certificates(self) -> bool:
        """Whether callers must show a certificate."""
        return self.certificates is not None and self.certificates.asks_callers

    def proved(self, door: Door, authorizations: Iterable[str]) -> str:
        """The name of the caller whose token a call shows, empty where no tokens are asked for.

        ``authorizations``: the values of its authorization headers. NotLetIn and WrongDoor say what is amiss.
        """
        if self.tokens is None:
            return ""
        shown = list(authorizations)
        if not shown:
            raise NotLetIn("no_token", f"this sidecar asks for a token, and the call has none; {MEND}")
        scheme, _, token = shown[0].partition(" ")
        if len(shown) > 1 or scheme.lower() != "bearer" or not token:
            raise NotLetIn("no_bearer", "authorization must be one header, 'Bearer' and a token; " + MEND)
        owner = self.tokens.current().owner(token.strip())
        if owner is None:
            raise NotLetIn("unknown_token", "the token of this call is not one that this sidecar knows")
        if door not in owner.doors:
            raise WrongDoor(owner.name, door)
        return owner.name


class Expiry(Collector):
    """When the certificate that is shown ends, for Prometheus; no sample where none is shown."""

    def __init__(self, security: Security) -> None:
        self._certificates = security.certificates

    def collect(self) -> Iterator[Metric]:
        """The one gauge, now."""
        name, about = "rescorer_certificate_expiry_timestamp_seconds", "When the sidecar's certificate ends."
        found = GaugeMetricFamily(name, about)
        ends_s = self._certificates.current().ends_s if self._certificates is not None else None
        if ends_s is not None:
            found.add_metric([], ends_s)
        yield found


OPEN = Security()
"""Everybody who reaches the doors is let in."""


def opened(settings: Settings, say: Callable[[str], None]) -> Security:
    """Files read and the rule of exposure kept, or ConfigError; a warning is said where tokens travel in plain text."""
    certificates, path = tls.of(settings), settings.tokens_file
    known = Watched([path], lambda: tokens.read(path)) if path else None
    usual = Quota(pairs_per_s=settings.quota_pairs_per_s, tokens_per_s=settings.quota_tokens_per_s)
    made = Security(certificates, known, usual)
    if certificates is not None and (certificates.current().ends_s or time.time()) < time.time():
        say(f"tls_cert {settings.tls_cert} has expired, and no client will trust it; renew the file")
    _check_exposure(settings, made, say)
    return made


def check_admin(settings: Settings, made: Security) -> None:
    """ConfigError where the admin door is to listen to others and asks them for no token."""
    if not is_loopback(settings.admin_host) and made.tokens is None:
        raise ConfigError(
            f"admin_host {settings.admin_host}: everybody there could change the models; listen on 127.0.0.1 and "
            "reach it through a tunnel (ssh -L, kubectl port-forward), or set tokens_file, one with the door admin"
        )


def _check_exposure(settings: Settings, made: Security, say: Callable[[str], None]) -> None:
    if is_loopback(settings.host):
        return
    if made.tokens is None and not made.asks_certificates:
        if not settings.insecure:
            raise ConfigError(
                f"host {settings.host}: everybody there could ask this sidecar; set --tokens-file (rescorer sidecar "
                "token makes one) or --tls-client-ca, listen on 127.0.0.1, or say --insecure where the network itself "
                "lets in only those who may"
            )
        say(f"insecure: everybody who reaches {settings.host} may ask this sidecar")
    elif made.certificates is None:
        say(f"tokens travel to {settings.host} in plain text; set --tls-cert, or let a proxy before it speak TLS")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost may mean anything."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
