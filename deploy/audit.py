"""``make audit``: known vulnerabilities of every version in requirements.lock, by pip-audit.

Exit code 0 where all were looked up and none is known, 1 where some are, 2 where not all could be looked up. pip-audit
itself ends with 0 where its service knows none of the packages, as behind an index that has no such service.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

LOCK = ("--requirement", "requirements.lock", "--require-hashes", "--disable-pip")
FORM = ("--format", "json", "--progress-spinner", "off", "--timeout", "15")
WITHIN_S = 900


def main(command: Sequence[str]) -> int:
    """Run pip-audit by this command and tell what it found."""
    done = subprocess.run([*command, *LOCK, *FORM], capture_output=True, text=True, check=False, timeout=WITHIN_S)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"nothing was audited, the service could not be asked: {last[:300]}")
        return 2
    code, lines = verdict(found["dependencies"])
    print(*lines, sep="\n")
    return code


def verdict(dependencies: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """Exit code and lines for what pip-audit says of each package."""
    skipped = [entry for entry in dependencies if "skip_reason" in entry]
    known = [(entry, wrong) for entry in dependencies for wrong in entry.get("vulns", ())]
    lines = [
        f"{entry['name']} {entry['version']}: {wrong['id']}, mended in {_listed(wrong['fix_versions']) or 'no version'}"
        for entry, wrong in known
    ]
    audited = len(dependencies) - len(skipped)
    lines.append(f"{audited} of {len(dependencies)} packages were looked up, {len(known)} known vulnerabilities")
    if skipped or not dependencies:
        lines.append("the service does not know the others: " + _listed([entry["name"] for entry in skipped]))
    return 1 if known else 2 if skipped or not dependencies else 0, lines


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
