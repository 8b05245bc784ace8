"""What Debian and Ubuntu carry of what a node needs, installed where this process may."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

from rescorer_lab.downloads import Say


def may_install() -> bool:
    """This process is root on a machine that has apt-get."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(package: str, say: Say) -> None:
    """Install a package, said before; whether it is there now is for the caller to see."""
    say(f"installing {package} with apt-get")
    begun_s = time.monotonic()
    for words in (["update", "-q"], ["install", "-qy", "--no-install-recommends", package]):
        subprocess.run(
            ["apt-get", *words],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    say(f"  done in {time.monotonic() - begun_s:.1f} s")
