"""What can be set about a sidecar, from the command line, the environment or a TOML file, in this order of strength.

One dataclass is the only source of names, types, defaults and explanations: flags, variables, file keys, ``--help`` and
docs/sidecar.md all come from it.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from rescorer_sidecar import masking
from rescorer_sidecar.errors import ConfigError

PREFIX = "RESCORER_SIDECAR_"
MOST_MESSAGE_MB = 2047


def _setting(default: Any, explained: str, *words: str, least: float | None = None) -> Any:
    return field(default=default, metadata={"explained": explained, "words": words, "least": least})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective settings of one process. Sizes and times carry their unit in the name."""

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for all")
    port: int = _setting(50051, "port to listen on; 0 takes a free one", least=0)
    model: str = _setting(
        "",
        "cross-encoders, the first by default: local folders, hub names (owner/name, owner/name@revision) or fetched "
        "models, with commas between; a list in the file",
    )
    embedder: str = _setting("", "embedders for the kNN half, named in the same ways; empty serves none")
    backend: str = _setting(
        "auto", "what runs the models; auto takes the fastest for the folder", "auto", "native", "onnx", "torch"
    )
    device: str = _setting("auto", "where torch runs: auto, cpu, cuda:0, …")
    precision: str = _setting(
        "auto",
        "number format; auto is fp16 on CUDA, and on the CPU bf16 where native measures it to be faster than fp32",
        *("auto", "fp32", "bf16", "fp16", "int8"),
    )
    max_tokens: int = _setting(0, "limit of query and text together; 0 takes the model's own", least=0)
    memory_mb: int = _setting(
        0,
        "memory for models, in MB; 0 takes what is free. One that does not fit is refused before it is loaded",
        least=0,
    )
    workers: int = _setting(0, "forwards at a time and model; 0 takes what the backend is best run with", least=0)
    budget_tokens: int = _setting(0, "most tokens of one forward; 0 learns how many take about 75 ms", least=0)
    hung_s: float = _setting(
        60.0, "seconds after which a forward that has not come back makes its model count as dead; 0 waits on", least=0
    )
    pooling: str = _setting(
        "auto", "how the embedder makes one vector; auto reads the model's files", "auto", "cls", "mean"
    )
    query_prefix: str = _setting("auto", "text put before queries when embedding; auto knows the bge v1.5 models")
    cache_mb: int = _setting(256, "memory for known scores, in MB; 0 keeps none", least=0)
    token_cache_mb: int = _setting(64, "memory for the tokens of known texts, in MB; 0 keeps none", least=0)
    shared_cache: str = _setting(
        "", "Redis or Valkey that sidecars share scores through: redis://, rediss:// or unix://; empty for none"
    )
    shared_cache_ttl_s: int = _setting(86_400, "seconds that a shared score is kept", least=1)
    shared_cache_wait_ms: float = _setting(4.0, "milliseconds that a request waits for shared scores", least=0)
    shared_cache_secret: str = _setting(
        "", "text that all sidecars of a shared cache know, so that nobody else writes it"
    )
    max_candidates: int = _setting(10_000, "candidates, or texts to embed, of one request", least=1)
    max_waiting_pairs: int = _setting(100_000, "pairs that may wait; above, requests are refused for now", least=1)
    max_request_tokens: int = _setting(6_000_000, "tokens of one request, told from its bytes", least=1)
    max_waiting_tokens: int = _setting(
        10_000_000, "tokens that may be unfinished; above, requests are refused for now", least=1
    )
    requests_mb: int = _setting(
        1024, "memory for requests that are being answered, in MB; above, calls are refused unread", least=1
    )
    max_message_mb: int = _setting(64, "size of one gRPC message, in MB", least=1)
    http_port: int = _setting(0, "port of /metrics, /healthz and /readyz over HTTP; 0 serves none", least=0)
    admin_host: str = _setting("127.0.0.1", "address of the admin door, through which models are swapped")
    admin_port: int = _setting(0, "port of the admin door; 0 keeps it shut", least=0)
    rollback_s: float = _setting(
        3600.0, "seconds that the version before a swap stays in memory for a roll-back", least=0
    )
    tls_cert: str = _setting(
        "", "file with the certificate that every door shows, its chain after it; empty speaks plain text"
    )
    tls_key: str = _setting("", "file with the key of tls_cert; both are read again when they change")
    tls_client_ca: str = _setting(
        "", "file with the authorities of callers' certificates; who shows none of theirs is not let in"
    )
    tokens_file: str = _setting(
        "", "file with the hashes of tokens (rescorer sidecar token), read again when it changes; empty asks for none"
    )
    quota_pairs_per_s: float = _setting(
        0.0, "pairs, or texts to embed, that each caller may ask for in a second; 0 bounds nothing", least=0
    )
    quota_tokens_per_s: float = _setting(
        0.0, "tokens that each caller may ask for in a second, about; 0 bounds nothing", least=0
    )
    insecure: bool = _setting(
        default=False, explained="listen to other machines although neither a token nor a certificate is asked for"
    )
    reflection: bool = _setting(default=True, explained="tell callers over gRPC which methods and messages there are")
    log_format: str = _setting("text", "how log lines look: text, or json, one object a line", "text", "json")
    traces: str = _setting(
        "", "OTLP collector that gets traces over gRPC, such as http://localhost:4317; empty sends none"
    )
    drain_s: float = _setting(10.0, "seconds that running calls get after SIGTERM", least=0)


KNOWN = {entry.name: entry for entry in dataclasses.fields(Settings)}
METAVARS = {"int": "INT", "float": "FLOAT", "str": "STR", "bool": "true|false"}


def from_command_line(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from flags over environment over file over defaults; ConfigError names what is wrong and where."""
    parsed, unknown = parser().parse_known_args(arguments)
    if unknown:
        _refuse(unknown[0], 1 + list(arguments).index(unknown[0]))
    given = vars(parsed)
    path = given.pop("config") or environment.get(f"{PREFIX}CONFIG")
    values = _from_file(Path(path)) if path else {}
    values |= _from_environment(environment)
    values |= {name: _parsed(name, raw, _flag(name)) for name, raw in given.items() if raw is not None}
    settings = Settings(**values)
    if not settings.model and not settings.embedder:
        raise ConfigError("no model is named; give --model (cross-encoder) or --embedder, a folder or a hub name")
    return settings


def cache_folder() -> Path:
    """``$RESCORER_CACHE``; else ``/var/cache/rescorer`` for root, whose engine runs as nobody; else the user's own."""
    named = os.environ.get("RESCORER_CACHE")
    if named:
        return Path(named).expanduser().resolve()
    if os.geteuid() == 0:
        return Path("/var/cache/rescorer")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rescorer"


class _Parser(argparse.ArgumentParser):
    """Argparse whose complaints are our one-line errors."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def parser() -> argparse.ArgumentParser:
    """The command line, one flag per setting."""
    made = _Parser(
        prog="rescorer-sidecar",
        allow_abbrev=False,
        description="Scores query-document pairs with a cross-encoder, over gRPC.",
        epilog="Example: rescorer-sidecar --model cross-encoder/ms-marco-MiniLM-L-12-v2 --port 50051. "
        f"Each setting can also stand in the file (port = 50051) or the environment ({PREFIX}PORT=50051); "
        "a flag wins over the environment, the environment over the file.",
    )
    made.add_argument("--config", metavar="FILE", help=f"TOML file with settings ({PREFIX}CONFIG)")
    made.add_argument("--version", action="version", version=f"rescorer-sidecar {version('rescorer')}")
    for entry in KNOWN.values():
        words = entry.metadata["words"]
        default = f"; default {shown_default(entry.name)}" if entry.default != "" else ""
        alone: dict[str, Any] = {"nargs": "?", "const": "true"} if entry.type == "bool" else {}
        made.add_argument(
            _flag(entry.name),
            **alone,
            metavar="|".join(words) if words else METAVARS[str(entry.type)],
            help=f"{entry.metadata['explained']}{default} ({PREFIX}{entry.name.upper()})",
        )
    return made


def shown_default(name: str) -> str:
    """A setting's default as a file would hold it."""
    default = KNOWN[name].default
    return str(default).lower() if isinstance(default, bool) else str(default)


def shown(settings: Settings) -> str:
    """Every effective value on one line, secrets masked."""
    return " ".join(f"{name}={masking.shown(name, getattr(settings, name))!r}" for name in KNOWN)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _refuse(argument: str, place: int) -> NoReturn:
    """Say what an argument should have been; one that is no flag is not repeated, since it may be a secret."""
    name = argument.partition("=")[0].lstrip("-").replace("-", "_")
    if argument.startswith("-") and name.isidentifier():
        _known(name, "command line")
    raise ConfigError(f"command line: argument {place} is no --name=value of ours; see --help")


def _from_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"--config {path}: no such file") from error
    except (OSError, ValueError, RecursionError) as error:  # TOML may hold more digits, or brackets, than Python reads
        raise ConfigError(f"--config {path}: {error}") from error
    return {_known(name, str(path)): _parsed(name, value, f"{path}: {name}") for name, value in table.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for variable, raw in environment.items():
        if variable.startswith(PREFIX) and variable != f"{PREFIX}CONFIG":
            name = _known(variable.removeprefix(PREFIX).lower(), variable)
            found[name] = _parsed(name, raw, variable)
    return found


def _known(name: str, where: str) -> str:
    if name not in KNOWN:
        near = difflib.get_close_matches(name, KNOWN, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(KNOWN)}"
        raise ConfigError(f"{where}: {name} is no setting; {hint}")
    return name


def _parsed(name: str, raw: Any, where: str) -> Any:
    entry = KNOWN[name]
    words, least = entry.metadata["words"], entry.metadata["least"]
    if name in ("model", "embedder") and isinstance(raw, list):
        raw = ",".join(_typed("str", source, where) for source in raw)
    if name in masking.MASKS and not isinstance(raw, str):
        raise ConfigError(f"{where}: must be text")
    value = _typed(str(entry.type), raw, where)
    if words and value not in words:
        raise ConfigError(f"{where}: {raw!r} must be one of {', '.join(words)}")
    if least is not None and value < least:
        raise ConfigError(f"{where}: {raw!r} must be {least:g} or more")
    if name.endswith("port") and value > 65_535:
        raise ConfigError(f"{where}: {raw!r} is no port; ports end at 65535")
    if name == "max_message_mb" and value > MOST_MESSAGE_MB:
        raise ConfigError(f"{where}: {raw!r} must be {MOST_MESSAGE_MB} or less, which is gRPC's own limit")
    return value


def _typed(kind: str, raw: Any, where: str) -> Any:
    if kind == "bool":
        if str(raw).lower() not in ("true", "false"):
            raise ConfigError(f"{where}: {raw!r} must be true or false")
        return str(raw).lower() == "true"
    expected = {"int": "a whole number", "float": "a number", "str": "text"}[kind]
    if isinstance(raw, bool) or (kind == "str" and not isinstance(raw, str)):
        raise ConfigError(f"{where}: {raw!r} must be {expected}")
    try:
        if kind == "int" and isinstance(raw, float):
            raise ValueError(raw)
        value = {"int": int, "float": float, "str": str}[kind](raw)
        if kind == "float" and not math.isfinite(value):
            raise ValueError(raw)
        return value
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{where}: {raw!r} must be {expected}") from error
