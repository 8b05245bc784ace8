"""``python -m rescorer_sidecar.probe 8080``: whether the sidecar on this machine is ready, as an exit code.

What a container's health check runs. It asks ``/readyz``, in plain text and else over TLS, and trusts whoever answers:
it says nothing that is secret, and the answer comes from this machine.
"""

from __future__ import annotations

import ssl
import sys
import urllib.request

WITHIN_S = 2.0


def ready(port: int) -> bool:
    """Whether it answers at this port and is ready."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    for scheme in ("http", "https"):
        try:
            with urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/readyz", timeout=WITHIN_S, context=trusting):  # noqa: S310  # one of two schemes
                return True
        except OSError:  # nobody there, another scheme, or not ready
            continue
    return False


if __name__ == "__main__":
    sys.exit(0 if ready(int(sys.argv[1])) else 1)
