"""A model's folder is data: no code of it runs, whatever it holds, through any backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from contract.backends.tiny_models import write_onnx, write_torch
from rescorer_sidecar import models
from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import ConfigError

BACKENDS = ("auto", "native", "torch")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a tiny sound cross-encoder."""
    return {path.name: path.read_bytes() for path in write_torch(tmp_path_factory.mktemp("sound")).iterdir()}


@pytest.fixture
def folder(tmp_path: Path, sound: dict[str, bytes]) -> Path:
    """A copy of it, to be spoilt."""
    (tmp_path / "model").mkdir()
    for name, content in sound.items():
        (tmp_path / "model" / name).write_bytes(content)
    return tmp_path / "model"


@pytest.mark.parametrize("backend", BACKENDS)
def test_code_beside_the_weights_is_never_run(folder: Path, tmp_path: Path, backend: str) -> None:
    """auto_map names a file of the folder: the model is refused, and the file was not imported."""
    mark, path = tmp_path / "was run", folder / "config.json"
    (folder / "modeling_trap.py").write_text(f"open({str(mark)!r}, 'w')\nclass Trap: ...\n")
    traps = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForSequenceClassification"), "modeling_trap.Trap")
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": traps}))
    with pytest.raises(ConfigError, match="auto_map asks for code of the model's own"):
        models.load(str(folder), "cross-encoder", Settings(backend=backend))
    assert not mark.exists()


def test_torch_takes_no_pickle_because_an_onnx_file_is_there(folder: Path, tmp_path: Path) -> None:
    """A folder that another backend could serve is refused by torch, which would find nothing but a pickle."""
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    (write_onnx(tmp_path / "onnx") / "model.onnx").rename(folder / "model.onnx")
    with pytest.raises(ConfigError, match=r"can't be loaded by transformers: .*safetensors"):
        models.load(str(folder), "cross-encoder", Settings(backend="torch"))


def test_no_library_keeps_or_sends_what_it_knows_of_this_machine(tmp_path: Path) -> None:
    """onnxruntime's telemetry, which is on in its wheels, leaves no device id and no events at home."""
    model, home = write_onnx(tmp_path / "model"), tmp_path / "home"
    home.mkdir()
    script = (
        "import sys; from pathlib import Path; from rescorer_sidecar.backends.onnx import OnnxBackend; "
        "OnnxBackend(Path(sys.argv[1]), None, 0)"
    )
    silencers = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME", "XDG_DATA_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in silencers}
    subprocess.run([sys.executable, "-c", script, str(model)], env={**kept, "HOME": str(home)}, check=True)
    assert list(home.rglob("*")) == []
