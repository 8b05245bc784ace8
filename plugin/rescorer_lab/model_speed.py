"""What a model costs here: a sidecar process of its own, requests of 1, 10 and 100 pairs over gRPC, nothing cached.

## Decisions
2026-11: measured from outside and not in this process. What callers wait for includes the door, the tokenizer and the
batches, and a process of its own tells the model's memory without ours.
2026-11: the chip's limit is the rate of products alone at a usual layer's shapes (``rescorer_rate``), times the cores.
Work counts two operations a multiply and add: matrices of the layers, and QKᵀ and PV; nothing else: 1 is out of reach.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from rescorer_lab import parity, sidecar
from rescorer_lab.errors import LabError
from rescorer_proto.v1 import rescorer_pb2, rescorer_pb2_grpc
from rescorer_sidecar import costs
from rescorer_sidecar.costs import Costs
from rescorer_sidecar.domain import ModelCard
from rescorer_sidecar.prompts import GOLDEN

SIZES = (1, 10, 100)
TEXT_WORDS = 60
"""A window of so many words is what the speed page measures most with."""

PATIENCE_S = 600.0
LOADED = re.compile(r"^model .* ([\d.]+) s$", re.MULTILINE)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Medians of one model on this machine. ``request_ms`` is by the number of pairs.

    share: of what the chip's products could do at most, for the largest request; None where that is not known.
    """

    card: ModelCard
    request_ms: Mapping[int, float]
    pairs_per_s: float
    tokens_per_s: float
    share: float | None
    load_ms: float
    memory_bytes: int
    costs: Costs


def measure(folder: Path, options: Sequence[str], rounds: int, tell: Tell) -> Speed:
    """Start a sidecar on a cross-encoder's folder, ask it, stop it. Raises LabError where it does not come up or fails.

    options: of ``rescorer-sidecar``, such as ``--precision``. tell: called with what begins, once for each request.
    """
    with tempfile.TemporaryDirectory(prefix="rescorer-bench-") as scratch:
        tell("load")
        fresh = ("--cache-mb", "0", "--token-cache-mb", "0")
        running = sidecar.start(
            ["--model", str(folder), *fresh, *options], Path(scratch) / "log", patience_s=PATIENCE_S
        )
        try:
            with grpc.insecure_channel(running.address) as channel:
                stub = rescorer_pb2_grpc.RescorerStub(channel)
                times, tokens = _times(stub, rounds, tell)
                info = stub.ListModels(rescorer_pb2.ListModelsRequest(), timeout=PATIENCE_S).models[0]
            memory_bytes = _own_bytes(running.process.pid)
            load_ms = _load_ms(running.log.read_text(encoding="utf-8"))
        except grpc.RpcError as error:
            raise LabError(f"{folder}: the sidecar failed: {error.details()}", "see rescorer models check") from error
        finally:
            running.stop()
    return _speed(folder, _card(info), times, tokens, (load_ms, memory_bytes))


def figures(speed: Speed) -> dict[str, float | None]:
    """What ``rescorer models table`` tells of a measurement."""
    return {
        "pairs_per_s": speed.pairs_per_s,
        "tokens_per_s": speed.tokens_per_s,
        **{f"ms_{size}": taken for size, taken in speed.request_ms.items()},
        "share": speed.share,
        "load_s": speed.load_ms / 1000,
        "memory_mb": speed.memory_bytes / 1e6,
    }


def _times(
    stub: rescorer_pb2_grpc.RescorerStub, rounds: int, tell: Tell
) -> tuple[dict[int, list[float]], dict[int, list[int]]]:
    """Milliseconds of each request, and its pairs' lengths, by number of pairs; the first of each is not kept."""
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    tokens: dict[int, list[int]] = {}
    for turn in range(rounds + 1):
        for size in SIZES:
            tell(f"{size} pair{'s' if size > 1 else ''}")
            begun_s = time.perf_counter()
            answer = stub.Score(_request(size), timeout=PATIENCE_S)
            if turn:
                times[size].append(1000 * (time.perf_counter() - begun_s))
            tokens[size] = [entry.token_count for entry in answer.results]
    return times, tokens


def _request(size: int) -> rescorer_pb2.ScoreRequest:
    """One query, and texts of about ``TEXT_WORDS`` words that differ."""
    query = GOLDEN[0][0]
    texts = (f"{place} {parity.text(TEXT_WORDS - 20 + place * 7 % 40, query, place)}" for place in range(size))
    candidates = [rescorer_pb2.Candidate(id=str(place), text=text) for place, text in enumerate(texts)]
    return rescorer_pb2.ScoreRequest(query=query, candidates=candidates)


def line(times_ms: Sequence[float], tokens: Sequence[int]) -> tuple[float, float]:
    """(ms, µs a token) of the line that lies nearest to these times by proportion; neither is below 0."""
    weights = 1 / np.array(times_ms)
    columns = np.stack([np.ones(len(tokens)), np.array(tokens, dtype=float)], axis=1) * weights[:, None]
    fixed_ms, token_ms = np.linalg.lstsq(columns, np.ones(len(tokens)), rcond=None)[0]
    if fixed_ms < 0 or token_ms < 0:  # times that hardly grow, or grow faster than a line
        proportions = np.array(times_ms) / np.array(tokens)
        return (float(min(times_ms)), 0.0) if token_ms < 0 else (0.0, 1000 * float(np.median(proportions)))
    return float(fixed_ms), 1000 * float(token_ms)


def work_flop(folder: Path, tokens: Sequence[int]) -> float | None:
    """Operations of the layers for pairs of these lengths; None for families that are not described."""
    from rescorer_sidecar.backends import encoder

    if not encoder.describes(folder):
        return None
    shape = encoder.described(folder).shape
    width, inner = shape.width, shape.inner
    matrices = 4 * width * width + (2 + shape.is_gated) * width * inner
    attended = sum(
        length * min(length, length if sight.reach is None else 2 * sight.reach + 1)
        for length in tokens
        for sight in shape.sights
    )
    return 2.0 * sum(tokens) * shape.layers * matrices + 4.0 * attended * width


def chip_flops(precision: str, cores: int) -> float | None:
    """Operations a second of this machine's cores in our products; None without a compiler or in formats it has not."""
    from rescorer_sidecar.backends.native import build
    from rescorer_sidecar.backends.native.kernels import PRECISIONS
    from rescorer_sidecar.errors import NoCompiler

    try:
        library = build.library()
    except NoCompiler:
        return None
    code = PRECISIONS.get(precision)
    return None if code is None or not library.rescorer_supports(code) else library.rescorer_rate(code) * cores


def _speed(
    folder: Path,
    card: ModelCard,
    times: Mapping[int, Sequence[float]],
    tokens: Mapping[int, Sequence[int]],
    loaded: tuple[float, int],
) -> Speed:
    load_ms, memory_bytes = loaded
    medians = {size: statistics.median(taken) for size, taken in times.items()}
    largest = max(SIZES)
    fixed_ms, us_per_token = line(list(medians.values()), [sum(tokens[size]) for size in medians])
    work, most = work_flop(folder, tokens[largest]), None
    if work is not None and card.device == "cpu":
        most = chip_flops(card.precision, costs.cores())
    return Speed(
        card=card,
        request_ms=medians,
        pairs_per_s=1000 * largest / medians[largest],
        tokens_per_s=1000 * sum(tokens[largest]) / medians[largest],
        share=None if work is None or most is None else work / most / (medians[largest] / 1000),
        load_ms=load_ms,
        memory_bytes=memory_bytes,
        costs=Costs(
            digest=card.digest,
            machine=costs.machine(),
            backend=card.backend,
            device=card.device,
            precision=card.precision,
            fixed_ms=fixed_ms,
            us_per_token=us_per_token,
            load_ms=load_ms,
        ),
    )


def _card(info: rescorer_pb2.ModelInfo) -> ModelCard:
    return ModelCard(
        name=info.model.name,
        digest=info.model.digest,
        kind="cross-encoder",
        max_tokens=info.max_tokens,
        dimension=0,
        backend=info.backend,
        device=info.device,
        precision=info.precision,
    )


def _load_ms(log: str) -> float:
    found = LOADED.search(log)
    if found is None:
        raise LabError("the sidecar's log does not tell how long its model loaded", "run it with --verbose")
    return 1000 * float(found[1])


def _own_bytes(process: int) -> int:
    """What a process holds that is no file's: weights, tokenizer, working memory and the libraries' own."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(entry.split()[1]) for entry in lines if entry.startswith("RssAnon"))
