"""The floor plan: what stands at the top of the tree, and what the wire and its stubs may not lose."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor

from rescorer_proto.admin.v1 import admin_pb2
from rescorer_proto.v1 import rescorer_pb2
from shape.source import ROOT

TOP_LEVEL = {
    *("pyproject.toml", "plugin", "proto", "sidecar", "index_templates", "tests", "docker-compose.yml", "README.md"),
    *(
        "Makefile",
        "requirements.lock",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "NOTICE",
        "docs",
        "benchmarks",
        "deploy",
    ),
}
WIRES = {"rescorer.v1": rescorer_pb2, "rescorer.admin.v1": admin_pb2}


def _golden(package: str) -> dict[str, list[object]]:
    return dict(json.loads((ROOT / "tests" / "golden" / f"{package}.json").read_text()))


def _wire(package: str) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    described = WIRES[package].DESCRIPTOR
    for message in described.message_types_by_name.values():
        for field in message.fields:
            of = field.message_type or field.enum_type
            kind = of.full_name if of else _TYPES[field.type]
            found[f"{message.name}.{field.name}"] = [field.number, kind, bool(field.is_repeated)]
    for enum in described.enum_types_by_name.values():
        found |= {f"{enum.name}.{value.name}": [value.number] for value in enum.values}
    for service in described.services_by_name.values():
        for method in service.methods:
            found[f"{service.name}.{method.name}"] = [method.input_type.name, method.output_type.name]
    return found


_TYPES = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


def test_the_top_level_holds_what_the_floor_plan_names_and_no_more() -> None:
    """No file or folder stands at the top that the floor plan does not name."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    top = {line.split("/")[0] for line in tracked.splitlines()}
    assert {name for name in top if not name.startswith(".")} - TOP_LEVEL == set()


@pytest.mark.parametrize("package", WIRES)
def test_the_wire_only_ever_gains(package: str) -> None:
    """Every field, enum value and method that was ever published is still there, unchanged."""
    golden = _golden(package)
    wire = _wire(package)
    assert {name: wire.get(name) for name in golden} == golden


@pytest.mark.parametrize("package", WIRES)
def test_what_the_wire_gains_is_recorded(package: str) -> None:
    """A new field is written into the package's file in tests/golden, so that it can't be changed unnoticed later."""
    assert sorted(_wire(package).keys() - _golden(package).keys()) == []


@pytest.mark.slow
def test_the_stubs_are_those_of_the_proto_file(tmp_path: Path) -> None:
    """Regenerated stubs equal the checked-in ones byte for byte."""
    subprocess.run(["make", "--silent", "stubs", f"OUT={tmp_path}"], cwd=ROOT, check=True)
    assert _stubs(tmp_path) == _stubs(ROOT / "proto" / "rescorer_proto")


def _stubs(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*_pb2*") if path.suffix in (".py", ".pyi"))
    return {str(path.relative_to(folder)): path.read_text() for path in found}
