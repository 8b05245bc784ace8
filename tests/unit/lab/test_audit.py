"""``make audit``: what was looked up, what is known, and that nothing looked up is no clean bill."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shape.source import ROOT

CLEAN = {"name": "numpy", "version": "2.0", "vulns": []}
BAD = {"name": "old", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
WORSE = {"name": "older", "version": "1.0", "vulns": [{"id": "CVE-2", "fix_versions": []}]}
SKIPPED = {"name": "here", "skip_reason": "Dependency not found"}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    """deploy/audit.py."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / "deploy" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([CLEAN], 0, "1 of 1 packages were looked up, 0 known vulnerabilities"),
        ([CLEAN, BAD], 1, "old 1.0: CVE-1, mended in 1.1"),
        ([WORSE], 1, "older 1.0: CVE-2, mended in no version"),
        ([CLEAN, SKIPPED], 2, "the service does not know the others: here"),
        ([BAD, SKIPPED], 1, "1 of 2 packages were looked up, 1 known vulnerabilities"),
        ([], 2, "0 of 0 packages were looked up"),
    ],
)
def test_the_verdict_says_what_was_looked_up(audit: ModuleType, dependencies: Any, code: int, said: str) -> None:
    """Clean is only what was looked up as a whole; each vulnerability is named with the version that mends it."""
    found, lines = audit.verdict(dependencies)
    assert found == code
    assert any(line.startswith(said) for line in lines)


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        (f"print('''{json.dumps({'dependencies': [CLEAN]})}''')", 0, "1 of 1 packages"),
        ("raise OSError('no such host')", 2, "nothing was audited, the service could not be asked: OSError: no such"),
    ],
)
def test_a_service_that_can_not_be_reached_is_told(
    audit: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path, program: str, code: int, said: str
) -> None:
    """pip-audit's own words, and an exit code that is not that of a clean bill."""
    script = tmp_path / "pip_audit.py"
    script.write_text(program)
    assert audit.main([sys.executable, str(script)]) == code
    assert capsys.readouterr().out.startswith(said)
