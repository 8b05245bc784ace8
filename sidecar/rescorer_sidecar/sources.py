"""From the name of a model to its folder: a local one, one that ``rescorer models get`` fetched, or a hub's.

## Decisions
2026-11: every request to the hub has a time limit. The hub's own client waits without end for a server that takes the
connection and never answers, and a sidecar would hang in its start without a word.
2026-11: a name without a slash is looked up among the fetched models and never on the hub, where it would be one of the
few old models without an owner: a mistyped folder must not start a download.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rescorer_sidecar.config import cache_folder
from rescorer_sidecar.errors import ConfigError, ModelNotFound

HUB_NAME = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?")
HUB_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "model.onnx*", "onnx/model.onnx*")
CHOSEN = "auto"
"""What requests call the model that is chosen for them."""

HUB_ANSWERS_WITHIN_S = 10.0
"""How long the hub may be silent, at the beginning and within an answer."""


def listed(names: str) -> tuple[str, ...]:
    """The sources in a comma-separated list, in order.

    ConfigError where two would be served under one name, or one as ``auto``, by which requests leave the choice to us.
    """
    sources = tuple(source.strip() for source in names.split(",") if source.strip())
    called = [name_of(source) for source in sources]
    if CHOSEN in called:
        raise ConfigError(f"model {sources[called.index(CHOSEN)]} would be served as {CHOSEN}; rename its folder")
    twice = next((name for name in called if called.count(name) > 1), None)
    if twice is not None:
        same = " and ".join(source for source in sources if name_of(source) == twice)
        raise ConfigError(f"models {same} would both be served as {twice}; leave one out, or rename its folder")
    return sources


def name_of(source: str) -> str:
    """What a model is served as: the last part of its path or hub name, without the revision."""
    return unpinned(source).rstrip("/").rsplit("/", 1)[-1]


def unpinned(source: str) -> str:
    """The source without its revision: what callers may call a model by besides its name."""
    named = HUB_NAME.fullmatch(source)
    return named["name"] if named and not Path(source).expanduser().is_dir() else source


def resolve(source: str) -> Path:
    """The folder of a model. ModelNotFound says what was looked for and where."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    fetched = cache_folder() / "models"
    if re.fullmatch(r"\w[\w.-]*", source) and (fetched / source).is_dir():
        return fetched / source
    named = HUB_NAME.fullmatch(source)
    if named is None:
        have = ", ".join(_fetched(fetched)) or "none yet; see rescorer models list"
        raise ModelNotFound(f"model {source}: no such folder, and no hub name (owner/name); fetched models: {have}")
    return _from_hub(named["name"], named["revision"])


def _fetched(folder: Path) -> Sequence[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ()


def _from_hub(name: str, revision: str | None) -> Path:
    """The hub's own cache, filled if need be; a revision is a commit, tag or branch."""
    import huggingface_hub

    session = huggingface_hub.get_session()
    hooks = session.event_hooks
    if _in_time not in hooks["request"]:
        session.event_hooks = {**hooks, "request": [*hooks["request"], _in_time]}
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES)))
    except Exception as error:  # the hub raises its own, the HTTP library's and the system's errors alike
        asked = f"{name} at revision {revision}" if revision else name
        offline = " (HF_HUB_OFFLINE is set)" if huggingface_hub.constants.HF_HUB_OFFLINE else f" ({_cause(error)})"
        raise ModelNotFound(
            f"model {asked} is not in the hub's cache and can't be downloaded{offline}; "
            "check the name, the revision and the network, or name a local folder"
        ) from error


def _in_time(request: Any) -> None:
    """Give a request of the hub's client that has no time limit ours."""
    given = request.extensions.get("timeout") or {}
    parts = ("connect", "read", "write", "pool")
    request.extensions["timeout"] = {part: given.get(part) or HUB_ANSWERS_WITHIN_S for part in parts}


def _cause(error: BaseException) -> str:
    """The kind of the error that all began with: it tells a time-out from a name that the hub does not know."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__
