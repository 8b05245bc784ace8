"""``rescorer-sidecar``: read the settings, then serve; whatever is wrong or missing is one line on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from rescorer_sidecar import config, logs
from rescorer_sidecar.errors import ConfigError


def main() -> None:
    """Run the sidecar; exit code 0 after a drain, 2 where a setting, a model or an address is wrong."""
    logs.set_up("text")
    try:
        settings = config.from_command_line(sys.argv[1:], os.environ)
        logs.set_up(settings.log_format)
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else each stranger's handshake is a line, and none of ours
        from rescorer_sidecar.serve import serve

        asyncio.run(serve(settings, logs.speaker(settings.log_format, say)))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rescorer"):
            raise
        sys.exit(f"rescorer-sidecar: {error.name} is not installed; run: pip install 'rescorer[onnx]'")
    except ConfigError as error:
        print(f"rescorer-sidecar: {error}", file=sys.stderr)
        sys.exit(2)


def say(line: str) -> None:
    """Print a line at once; one that can't be written, as on a full disk, is left out: no score depends on it."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


if __name__ == "__main__":
    main()
