"""From a name to a warm model: find its files, name its version, load it, run it once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescorer_sidecar.backends import Backend, encoder, native, onnx_file
from rescorer_sidecar.backends.arrays import Pooling
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Kind, ModelCard
from rescorer_sidecar.errors import ConfigError, NoCompiler
from rescorer_sidecar.tokenise import Tokeniser

logger = logging.getLogger(__name__)

HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
HUB_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "model.onnx*", "onnx/model.onnx*")
SCORE_FILES = (".onnx", ".onnx_data", ".onnx.data", ".safetensors", "tokenizer.json", "config.json")
"""How the names of files end that decide a score; tokenizer_config.json ends in config.json too."""

BGE_PREFIX = "Represent this sentence for searching relevant passages: "
UNBOUNDED = 1_000_000
"""Some tokenizers say 1e30 where they know no limit."""

DEFAULT_LIMIT = 512
LEAST_LIMIT = 16
"""Below this no query and text fit together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model with all that it needs to answer."""

    card: ModelCard
    tokeniser: Tokeniser
    backend: Backend
    query_prefix: str = ""


def load(source: str, kind: Kind, settings: Settings) -> Model:
    """Load and warm one model; blocks for as long as that takes. ConfigError says in one line what is missing."""
    folder = resolve(source)
    facts = _described(folder)
    name = source.rstrip("/").rsplit("/", 1)[-1]
    pooling = _pooling(folder, name, settings.pooling) if kind == "embedder" else None
    tokeniser = Tokeniser(folder)
    backend = _backend(folder, pooling, facts, settings)
    card = ModelCard(
        name=name,
        digest=digest(folder),
        kind=kind,
        max_tokens=_limit(facts, settings.max_tokens),
        dimension=backend.facts.dimension,
        backend=backend.facts.name,
        device=backend.facts.device,
        precision=backend.facts.precision,
    )
    prefix = settings.query_prefix
    if prefix == "auto":
        prefix = BGE_PREFIX if re.match(r"bge[-_]\w+[-_]en", name, re.IGNORECASE) else ""
    model = Model(card=card, tokeniser=tokeniser, backend=backend, query_prefix=prefix)
    try:
        warm(model)
    except Exception as error:  # whatever a model that doesn't fit its files may raise
        what = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"model {source} loads, but fails on its first text: {type(error).__name__}: {what}"
        ) from error
    return model


def warm(model: Model) -> None:
    """Run one short and one full-length row, whatever the limit of other rows: bounded work, paid before readiness."""
    for words in (8, min(model.card.max_tokens, DEFAULT_LIMIT)):
        text = " ".join(["warm"] * words)
        if model.card.kind == "cross-encoder":
            rows = model.tokeniser.pairs("warm", [text], model.card.max_tokens)
        else:
            rows = model.tokeniser.texts([text], model.card.max_tokens)
        model.backend.forward(rows)


def resolve(source: str) -> Path:
    """The folder of a model: a local one as it is, a hub name through the hub's own cache."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(source):
        raise ConfigError(f"model {source}: no such folder, and no hub name (owner/name)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=list(HUB_FILES)))
    except Exception as error:  # the hub raises its own, requests' and the system's errors alike
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise ConfigError(
            f"model {source} is not in the hub's cache and can't be downloaded{offline}; "
            "check the name and the network, or name a local folder"
        ) from error


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that decide a score, in the order of their names."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name.endswith(SCORE_FILES):
            whole.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def _described(folder: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name in ("tokenizer_config.json", "config.json"):
        path = folder / name
        if path.is_file():
            found |= _json(path)
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no JSON object")
    return found


def _limit(facts: Mapping[str, Any], wanted: int) -> int:
    """The model's own limit, or less where less is wanted. RoBERTa's positions start behind its padding id."""
    positions = facts.get("max_position_embeddings") or facts.get("n_positions") or UNBOUNDED
    if "roberta" in facts.get("model_type", ""):
        positions -= facts.get("pad_token_id", 1) + 1
    own = min(positions, int(facts.get("model_max_length") or UNBOUNDED))
    own = own if own < UNBOUNDED else DEFAULT_LIMIT
    limit = min(own, wanted) if wanted else own
    if limit < LEAST_LIMIT:
        raise ConfigError(f"a limit of {limit} tokens holds no query and text; give max_tokens {LEAST_LIMIT} or more")
    return limit


def _pooling(folder: Path, name: str, wanted: str) -> Pooling:
    """As asked for; else as the sentence-transformers folder says; else CLS for bge and the mean for others."""
    if wanted != "auto":
        return "cls" if wanted == "cls" else "mean"
    described = folder / "1_Pooling" / "config.json"
    if described.is_file():
        return "cls" if _json(described).get("pooling_mode_cls_token") else "mean"
    return "cls" if "bge" in name.lower() else "mean"


def _backend(folder: Path, pooling: Pooling | None, facts: Mapping[str, Any], settings: Settings) -> Backend:
    """What ``--backend`` names; under ``auto`` the fastest that there is for this folder and device."""
    wanted, on_gpu = settings.backend, settings.device.startswith("cuda")
    if on_gpu and wanted in ("native", "onnx"):
        raise ConfigError(f"device {settings.device}: backend {wanted} runs on the CPU; use --backend torch")
    if wanted == "native" or (wanted == "auto" and _suits_native(folder, settings)):
        try:
            return _native(folder, pooling, settings)
        except NoCompiler as error:
            if wanted == "native":
                raise
            logger.warning("%s", error)
    if wanted == "onnx" or (wanted == "auto" and onnx_file(folder) and not on_gpu):
        from rescorer_sidecar.backends.onnx import OnnxBackend

        return OnnxBackend(folder, pooling, pad_id=facts.get("pad_token_id") or 0)
    if settings.precision == "int8":
        raise ConfigError(f"precision int8: backend torch has none, and native can't run {folder}; use bf16 or fp32")
    if encoder.describes(folder):
        from rescorer_sidecar.backends.packed_torch import PackedTorchBackend

        lacking = native.unsuited(folder)
        if lacking:
            logger.info("%s runs packed on torch; backend native can't run it: %s", folder, lacking)
        return PackedTorchBackend(folder, pooling, device=settings.device, precision=settings.precision)
    from rescorer_sidecar.backends.torch import TorchBackend

    logger.info("%s runs padded, through transformers: %s", folder, encoder.undescribed(folder))
    return TorchBackend(folder, pooling, device=settings.device, precision=settings.precision)


def _suits_native(folder: Path, settings: Settings) -> bool:
    """Whether nothing speaks against the native kernels: a checkpoint that they run, and a CPU is all that is used."""
    if settings.device == "auto" and shutil.which("nvidia-smi"):
        return False
    return settings.device in ("auto", "cpu") and settings.precision != "fp16" and not native.unsuited(folder)


def _native(folder: Path, pooling: Pooling | None, settings: Settings) -> Backend:
    lacking = native.unsuited(folder)
    if lacking:
        raise ConfigError(f"{folder}: backend native can't run it ({lacking}); use --backend torch or onnx")
    return native.NativeBackend(folder, pooling, precision=settings.precision)
