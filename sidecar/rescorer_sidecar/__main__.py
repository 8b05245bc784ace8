"""``rescorer-sidecar``: read the settings, then serve; whatever is wrong or missing is one line on standard error."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys

from rescorer_sidecar import config
from rescorer_sidecar.errors import ConfigError


def main() -> None:
    """Run the sidecar; exit code 0 after a drain, 2 where a setting, a model or an address is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = config.from_command_line(sys.argv[1:], os.environ)
        from rescorer_sidecar.serve import serve

        asyncio.run(serve(settings, functools.partial(print, flush=True)))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rescorer"):
            raise
        sys.exit(f"rescorer-sidecar: {error.name} is not installed; run: pip install 'rescorer[onnx]'")
    except ConfigError as error:
        print(f"rescorer-sidecar: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
