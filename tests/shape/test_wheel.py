"""The wheel as a stranger gets it: built from the tree, installed into an empty environment."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from shape.source import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    _uv("build", "--quiet", "--wheel", "--build-constraint", "requirements.lock", "--out-dir", folder, ".")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the thin client and nothing else."""
    folder = tmp_path_factory.mktemp("thin") / "venv"
    _uv("venv", "--quiet", "--python", sys.executable, folder)
    found = folder / "bin" / "python"
    _uv("pip", "install", "--quiet", "--python", found, "--constraint", "requirements.lock", wheel)
    return found


def _uv(*arguments: str | Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, *map(str, arguments)], cwd=ROOT, check=True)


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def test_the_wheel_holds_templates_proto_and_typing_markers(wheel: Path) -> None:
    """Every template of the tree, the proto file and the typing markers are in the wheel."""
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {f"rescorer/{path.relative_to(ROOT)}" for path in (ROOT / "index_templates").rglob("*.json")}
    markers = {f"{package}/py.typed" for package in ("rescorer", "rescorer_lab", "rescorer_proto", "rescorer_sidecar")}
    assert templates
    assert templates | markers | {"rescorer_proto/v1/rescorer.proto", "rescorer_proto/admin/v1/admin.proto"} <= names


def test_the_thin_client_brings_no_model_runtime_and_no_engine_client(python: Path) -> None:
    """An empty environment gets the client without torch, onnxruntime, numpy or an engine client."""
    listed = _run(Path(sys.executable).with_name("uv"), "pip", "list", "--python", python, "--format", "freeze").stdout
    installed = {line.split("==")[0] for line in listed.splitlines()}
    assert "rescorer" in installed
    assert installed & {"torch", "onnxruntime", "numpy", "transformers", "opensearch-py", "elasticsearch"} == set()


def test_the_thin_client_imports_and_reads_its_templates(python: Path) -> None:
    """The installed package imports without an engine client and finds its templates."""
    code = (
        "import rescorer, rescorer.scorers.grpc, rescorer.templates as t; print(rescorer.__version__, len(t.shipped()))"
    )
    done = _run(python, "-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) >= 6


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("-c", "import rescorer.opensearch"), "rescorer[opensearch]"),
        (("-m", "rescorer_lab", "demo"), "rescorer[lab]"),
        (("-m", "rescorer_sidecar", "--model", "/nowhere"), "rescorer[onnx]"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_mends_it(
    python: Path, command: tuple[str, ...], extra: str
) -> None:
    """Whoever uses a room that is not installed reads which extra to install, in the last line."""
    done = _run(python, *command)
    assert done.returncode != 0
    assert f"pip install '{extra}'" in done.stderr.strip().splitlines()[-1]
