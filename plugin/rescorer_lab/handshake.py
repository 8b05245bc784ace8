"""Why a sidecar can't be connected to, in words: TCP, then TLS as its clients speak it, step by step.

## Decisions
2026-11: Python's own TLS is asked, since gRPC tells a failed handshake in BoringSSL's words, and of a certificate that
was refused only that the connection was closed.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from rescorer.credentials import SYSTEM, Credentials
from rescorer.scorers.channels import Target

ROOTS, CERTIFICATE, SERVER_NAME = "RESCORER_TLS_ROOTS", "RESCORER_TLS_CERTIFICATE", "RESCORER_TLS_SERVER_NAME"
EXPIRED, NOT_YET = 10, 9
OTHER_NAME, OTHER_ADDRESS = 62, 64
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_EOF")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is amiss, and what mends it."""

    says: str
    mend: str


def trouble(target: Target, given: Credentials, patience_s: float) -> Trouble | None:
    """What keeps this client from this sidecar; None where TCP and TLS come about, or nobody listens."""
    host, _, port = target.address.rpartition(":")
    if target.is_name or target.address.startswith("unix:"):
        return None
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=patience_s) as plain:
            plain.settimeout(patience_s)
            return _of_tls(plain, target.address, given) if given.roots else _of_plain(plain, target.address)
    except TimeoutError:
        says = f"nobody says a word at {target.address} within {patience_s:g} s"
        return Trouble(says, "see whether it is a sidecar, and whether it hangs")
    except OSError:
        return None  # nobody listens, which gRPC has said as well


def _of_plain(plain: socket.socket, address: str) -> Trouble | None:
    context = _context("")
    try:
        with context.wrap_socket(plain):
            return _speaks_tls(address)
    except ssl.SSLError as error:
        return _speaks_tls(address) if "ALERT" in (error.reason or "") else None


def _speaks_tls(address: str) -> Trouble:
    return Trouble(
        f"what answers at {address} speaks TLS, and this client plain text", f"name its authorities: {ROOTS}"
    )


def _of_tls(plain: socket.socket, address: str, given: Credentials) -> Trouble | None:
    name = given.server_name or address.rpartition(":")[0].strip("[]")
    try:
        context = _context(given.roots)
        if given.certificate:
            context.load_cert_chain(given.certificate, given.key)
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (given.roots, given.certificate, given.key)))
        return Trouble(
            f"of the files {files} one can't be used ({error})", "name PEM files, the key without a password"
        )
    try:
        with context.wrap_socket(plain, server_hostname=name) as spoken:
            if not spoken.recv(1):  # under TLS 1.3 the other side refuses a certificate only after the handshake
                return _refused("", address, given)
    except ssl.SSLCertVerificationError as error:
        return _not_trusted(error, address, name, given)
    except ssl.SSLError as error:
        return _refused(error.reason or "", address, given)
    except ConnectionError:
        return _refused("", address, given)
    return None


def _context(roots: str) -> ssl.SSLContext:
    """One that speaks as gRPC does; without roots it trusts everybody, since nothing is said over it."""
    context = ssl.create_default_context(cafile=roots if roots != SYSTEM else None) if roots else _trusting()
    context.set_alpn_protocols(["h2"])
    return context


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _not_trusted(error: ssl.SSLCertVerificationError, address: str, name: str, given: Credentials) -> Trouble:
    whose = f"the certificate of the sidecar at {address}"
    if error.verify_code == EXPIRED:
        return Trouble(f"{whose} has expired", "renew the file that tls_cert names; the sidecar reads it by itself")
    if error.verify_code == NOT_YET:
        return Trouble(f"{whose} is not valid yet", "look at the clocks of both machines")
    if error.verify_code in (OTHER_NAME, OTHER_ADDRESS):
        return Trouble(f"{whose} is not for the name {name}", f"name the one that it is for: {SERVER_NAME}")
    says = f"{whose} is signed by none of the authorities in {given.roots} ({error.verify_message})"
    return Trouble(says, f"name the file of its own authority: {ROOTS}")


def _refused(reason: str, address: str, given: Credentials) -> Trouble:
    if any(word in reason for word in NO_TLS) and "ALERT" not in reason:
        return Trouble(f"what answers at {address} does not speak TLS", f"leave {ROOTS} empty, or give it tls_cert")
    if not given.certificate:
        return Trouble(
            f"the sidecar at {address} asks for a certificate of this client",
            f"name it: {CERTIFICATE}, RESCORER_TLS_KEY",
        )
    why = "it has expired, or no authority that its tls_client_ca names has issued it"
    return Trouble(f"the sidecar at {address} refuses {given.certificate}: {why}", "have one issued that it trusts")
