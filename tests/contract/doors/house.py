"""A sidecar behind locked doors: an authority, its certificates as files, and real servers on free ports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from rescorer.credentials import Credentials
from rescorer_lab import token_file
from rescorer_sidecar import grpc_server, security
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.models import Model
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import fake_model, write_tokeniser
from rescorer_sidecar.tracing import Tracing

LAB = ("score",)


@dataclass
class House:
    """A folder of files that doors are opened with."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.authority.cert_pem.write_to_path(str(self.roots))
        self.show(self.authority)

    @property
    def roots(self) -> Path:
        """Whom clients trust."""
        return self.folder / "ca.pem"

    @property
    def tokens(self) -> Path:
        """The tokens file."""
        return self.folder / "tokens.toml"

    def show(self, authority: trustme.CA) -> None:
        """Put a certificate of this authority into the sidecar's files."""
        self.issued("server", authority, "127.0.0.1")

    def issued(self, name: str, authority: trustme.CA, *names: str, **more: Any) -> tuple[str, str]:
        """Certificate and key in files of this name."""
        made = authority.issue_cert(*names, **more)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(key))
        return str(certificate), str(key)

    def settings(self, *, mutual: bool = False, **more: Any) -> Settings:
        """Settings with TLS, and with whatever else is wanted."""
        files = {"tls_cert": str(self.folder / "server.pem"), "tls_key": str(self.folder / "server.key")}
        if mutual:
            files["tls_client_ca"] = str(self.roots)
        return Settings(**{"model": "fake", "port": 0, "workers": 1, **files, **more})

    def token(self, name: str, *doors: str) -> str:
        """A new token in the file."""
        return token_file.added(self.tokens, name, doors or LAB)

    def trusting(self, **more: Any) -> Credentials:
        """A client's credentials that know the authority."""
        return Credentials(roots=str(self.roots), **more)


@dataclass
class Sidecar:
    """A running one: where, and what serves there."""

    address: str
    service: Service


@asynccontextmanager
async def serving(
    settings: Settings, folder: Path, kind: type[Service] = Service, *models: Model, tracing: Tracing | None = None
) -> AsyncIterator[Sidecar]:
    """A sidecar with these settings and models, by default one without weights, its gRPC door open."""
    clock = MonotonicClock()
    service = kind(settings, clock, tracing)
    service.open(models or [fake_model(write_tokeniser(folder / "model"))])
    secured = security.opened(settings, lambda _: None)
    server, health, port = grpc_server.build(grpc_server.Door(service, clock), settings, secured)
    await grpc_server.tell_health(health, serving=True)
    await server.start()
    try:
        yield Sidecar(f"127.0.0.1:{port}", service)
    finally:
        await server.stop(None)
        service.close()
