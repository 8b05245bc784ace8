"""``rescorer``: names the missing extra where the lab is not installed, else hands over to :mod:`rescorer_lab.cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exit code 0 done, 1 found wanting, 2 could not be done."""
    try:
        from rescorer_lab.cli import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rescorer"):
            raise
        sys.stderr.write(f"rescorer: {error.name} is not installed; run: pip install 'rescorer[lab]'\n")
        sys.exit(2)
    sys.exit(run())


if __name__ == "__main__":
    main()
