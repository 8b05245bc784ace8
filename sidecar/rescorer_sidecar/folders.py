"""What a model's folder says of itself, and what speaks against it before anything is loaded.

## Decisions
2026-11: candidates are ranked by the logit, before any activation, so an activation that the model's files name changes
no order as long as it grows with the logit; it is checked to be such a one and is not applied. A caller who wants 0 … 1
asks for the sigmoid. Softmax over two labels is the sigmoid of their difference, which is our logit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rescorer_sidecar.backends import onnx_file
from rescorer_sidecar.backends.arrays import checked_labels
from rescorer_sidecar.backends.encoder import FAMILIES
from rescorer_sidecar.errors import BadCheckpoint, UnsupportedModel

SCORE_FILES = (
    *(".onnx", ".onnx_data", ".onnx.data", ".safetensors"),
    *("tokenizer.json", "config.json", "config_sentence_transformers.json"),
)
"""How the names of files end that decide a score; tokenizer_config.json ends in config.json too."""

DESCRIPTIONS = (
    "tokenizer_config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "config.json",
)
"""Later ones win where two know the same key."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
CONVERT = (
    "pickle files can run code and are never loaded; convert it where you trust it: "
    "AutoModelForSequenceClassification.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
)

DESCRIBED_CODE = ("new",)
"""Families that began as code beside their weights, and that we describe."""

ORDER_KEEPING = ("Identity", "Sigmoid", "LogSigmoid", "Tanh", "Softmax", "Softplus")
"""Activations of torch.nn that leave the order of logits as it is."""


def described(folder: Path) -> Mapping[str, Any]:
    """What the folder's descriptions say, one mapping; BadCheckpoint where one is no JSON object."""
    found: dict[str, Any] = {}
    for name in DESCRIPTIONS:
        path = folder / name
        if path.is_file():
            found |= read_json(path)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; BadCheckpoint where it holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadCheckpoint(path, f"is no JSON: {error}", "download the model again") from error
    if not isinstance(found, dict):
        raise BadCheckpoint(path, "holds no JSON object", "download the model again")
    return found


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that decide a score, in the order of their names."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name.endswith(SCORE_FILES):
            whole.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def check_whole(folder: Path) -> None:
    """BadCheckpoint where files are missing, half there, or of a kind that is not loaded."""
    again = "download the model again"
    lost = next((path for path in sorted(folder.iterdir()) if path.is_symlink() and not path.exists()), None)
    if lost is not None:
        raise BadCheckpoint(lost, "leads to a file that is gone", again)
    half = next(iter(sorted(folder.rglob("*.incomplete"))), None)
    if half is not None:
        raise BadCheckpoint(half, "was not downloaded to its end", again)
    for path in sorted(folder.glob("*.safetensors.index.json")):
        shards = read_json(path).get("weight_map", {})
        lacking = next((name for name in sorted(set(shards.values())) if not (folder / name).is_file()), None)
        if lacking is not None:
            raise BadCheckpoint(path, f"names {lacking}, which is not there", again)
    if onnx_file(folder) or any(folder.glob("*.safetensors")):
        return
    pickled = next((path for kind in PICKLES for path in sorted(folder.glob(kind))), None)
    if pickled is not None:
        raise BadCheckpoint(pickled, "is a pickle file, and there are no safetensors beside it", CONVERT)
    raise BadCheckpoint(
        folder,
        "holds neither *.safetensors nor model.onnx",
        f"name a model's folder. A hub's repository may hold a pickle file alone: {CONVERT}",
    )


def check_reranker(folder: Path, facts: Mapping[str, Any]) -> None:
    """UnsupportedModel where config.json describes a classifier that does not rank, or that asks for what we lack."""
    labels = facts.get("id2label")
    if isinstance(labels, Mapping) and len(labels) > 2 and _classifies(facts):
        checked_labels(len(labels), folder / "config.json")
    for name in _activations(facts):
        if name.rsplit(".", 1)[-1] not in ORDER_KEEPING:
            known = ", ".join(ORDER_KEEPING)
            raise UnsupportedModel(
                f"{folder}: its activation {name} may change the order of logits, by which we rank; known: {known}"
            )
    own_code = (facts.get("auto_map") or {}).get("AutoModelForSequenceClassification")
    if own_code and facts.get("model_type") not in DESCRIBED_CODE:
        raise UnsupportedModel(
            f"{folder / 'config.json'}: auto_map asks for code of the model's own ({own_code}), which is never run; "
            f"take a model that transformers knows, or one of {', '.join(FAMILIES)} without auto_map"
        )
    prompt = (facts.get("prompts") or {}).get(facts.get("default_prompt_name"))
    if prompt:
        raise UnsupportedModel(
            f"{folder / 'config_sentence_transformers.json'}: default_prompt_name puts {prompt!r} before each pair, "
            "which cross-encoders are not given here; remove it if the model was trained without, or take another model"
        )


def check_tokeniser(path: Path, facts: Mapping[str, Any], vocabulary: int, specials: int) -> None:
    """BadCheckpoint where a tokenizer can't be this model's: ids that the model has no row for, or no special tokens.

    vocabulary: one more than its highest id. specials: how many tokens it puts around a pair.
    """
    mend = "take tokenizer.json from the same model"
    rows = facts.get("vocab_size")
    if isinstance(rows, int) and vocabulary > rows:
        raise BadCheckpoint(
            path, f"gives ids up to {vocabulary - 1}, and config.json tells a vocabulary of {rows}", mend
        )
    if facts.get("model_type") in FAMILIES and not specials:
        raise BadCheckpoint(
            path, f"puts no special tokens around a pair, as {facts['model_type']} was trained with", mend
        )


def _classifies(facts: Mapping[str, Any]) -> bool:
    return any(str(name).endswith("ForSequenceClassification") for name in facts.get("architectures") or ())


def _activations(facts: Mapping[str, Any]) -> Iterator[str]:
    """What sentence-transformers puts on top, by the three places where its versions wrote it."""
    inside = facts.get("sentence_transformers")
    places = (
        facts.get("activation_fn"),
        facts.get("sbert_ce_default_activation_function"),
        inside.get("activation_fn") if isinstance(inside, Mapping) else None,
    )
    return (place for place in places if isinstance(place, str))
