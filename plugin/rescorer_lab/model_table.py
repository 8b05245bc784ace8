"""The tables of docs/models.md: what is known of models, how the sidecar runs each, and what was measured.

How a model is run is asked of the sidecar's own families, so that a table tells what this version does.
"""

from __future__ import annotations

import datetime
import json
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from rescorer_lab import model_speed
from rescorer_lab.errors import LabError
from rescorer_sidecar import costs
from rescorer_sidecar.backends import encoder, native
from rescorer_sidecar.prompts import PROMPTS, prompt_of

FACTS = resources.files("rescorer_lab") / "known_models.toml"
BEGIN = "<!-- made by: rescorer models table -->"
END = "<!-- end -->"

MINILM = {
    "model_type": "bert",
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}
REFUSED = "not: it needs code of its own"


def tables(measured: Sequence[Mapping[str, Any]]) -> str:
    """All tables in Markdown, each under its heading; ``measured`` as :func:`read` gives it."""
    parts = [
        ("### Families", _families()),
        ("### Models", _models(tomllib.loads(FACTS.read_text(encoding="utf-8"))["model"])),
        ("### Measured", _measured(measured)),
    ]
    return "\n\n".join(f"{heading}\n\n{table}" for heading, table in parts)


def renewed(page: str, measured: Sequence[Mapping[str, Any]]) -> str:
    """The page with its tables made anew; LabError where it does not say where they stand."""
    before, begin, rest = page.partition(BEGIN)
    _, end, behind = rest.partition(END)
    if not begin or not end:
        raise LabError(f"the page has no {BEGIN} … {END}", "put both lines where the tables belong")
    return f"{before}{BEGIN}\n\n{tables(measured)}\n\n{END}{behind}"


def how(config: Mapping[str, Any], *, own_code: bool = False) -> str:
    """How the sidecar runs a model with this config.json, by ``--backend auto`` on the CPU and elsewhere."""
    if own_code:
        return REFUSED
    if prompt_of(config, "") is not None:
        return "decoder, torch"
    with _folder(config) as folder:
        if not encoder.describes(folder):
            return "padded, transformers"
        return "packed, torch" if native.unsuited(folder) else "packed, native and torch"


def work(config: Mapping[str, Any]) -> float | None:
    """Operations for a pair of 128 tokens beside those of MiniLM-L12; None for families that are not described."""
    with _folder(config) as folder, _folder(MINILM) as minilm:
        own, theirs = (model_speed.work_flop(place, [128]) for place in (folder, minilm))
    return None if own is None or theirs is None else own / theirs


@contextmanager
def _folder(config: Mapping[str, Any]) -> Iterator[Path]:
    """A folder that looks like a model with this config.json; its weights are empty."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "model.safetensors").touch()
        yield folder


def read(path: Path) -> list[dict[str, Any]]:
    """What was measured, oldest first; nothing where the file is not there."""
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def entry(model: str, backend: str, precision: str) -> dict[str, Any]:
    """What says whose figures they are: to be completed and given to :func:`record`."""
    return {
        "model": model,
        "backend": backend,
        "precision": precision,
        "machine": costs.machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def record(path: Path, figures: Mapping[str, Any]) -> None:
    """Add figures of a model, backend, precision and machine to those that are there for them, or in their place."""
    keys = ("model", "backend", "precision", "machine")
    kept = read(path)
    known = next((old for old in kept if all(old[key] == figures[key] for key in keys)), None)
    if known is None:
        kept.append(dict(figures))
    else:
        known |= figures
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _families() -> str:
    generative = ", ".join(f"{prompt.family} (`{name}`)" for name, prompt in PROMPTS.items())
    rows = [
        ("packed, described here", ", ".join(f"`{name}`" for name in encoder.FAMILIES), "no padding; rows end to end"),
        ("decoder", generative, "template built in, golden orderings checked at load, prefix computed once"),
        ("everything else that is a sequence classifier", "", "padded, sorted, through `transformers`; said at load"),
        ("ONNX file with a `tokenizer.json`", "", "onnxruntime, on the CPU"),
    ]
    return _table(("How", "`model_type` or family", "Runs"), rows)


def _models(known: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            f"`{model['name']}`",
            how(model["config"], own_code=model.get("own_code", False)),
            model["languages"],
            f"{model['limit']:,}" + (f" ({model['note']})" if "note" in model else ""),
            model["licence"],
            f"{model['millions']:,} M",
            f"{4 * model['millions']:,.0f} / {2 * model['millions']:,.0f}",
            "not known" if (times := work(model["config"])) is None else f"{times:.2f}",
        )
        for model in known
    ]
    columns = ("Model", "Runs", "Languages", "Limit, tokens", "Licence", "Parameters", "MB in fp32 / 16 bit", "Work")
    return _table(columns, rows)


def _measured(measured: Sequence[Mapping[str, Any]]) -> str:
    def told(figures: Mapping[str, Any], key: str, form: str) -> str:
        return format(figures[key], form) if figures.get(key) is not None else "not measured"

    rows = [
        (
            f"`{figures['model']}`",
            f"{figures['backend']} {figures['precision']}",
            told(figures, "pairs_per_s", ",.1f"),
            told(figures, "tokens_per_s", ",.0f"),
            " / ".join(told(figures, f"ms_{size}", ",.0f") for size in (1, 10, 100)),
            told(figures, "share", ".0%"),
            told(figures, "load_s", ".1f"),
            told(figures, "memory_mb", ",.0f"),
            told(figures, "worst", ".6f"),
            told(figures, "pearson", ".6f"),
            f"{figures['machine']}, {figures['date']}" + (f", load {figures['load']}" if "load" in figures else ""),
        )
        for figures in measured
    ]
    columns = (
        *("Model", "Backend", "Pairs/s", "Tokens/s", "ms for 1 / 10 / 100 pairs", "Of the chip's limit", "Loads in s"),
        *("Process, MB", "Worst difference", "Pearson", "Where and when"),
    )
    return _table(columns, rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
