"""Pairs a second on a GPU, the packed torch backend beside sentence-transformers' ``CrossEncoder`` in fp16, in turns.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --device cpu --small     # the same code on tiny shapes

The checkpoints have the shapes of well-known cross-encoders and random weights, since speed does not depend on what a
model has learnt. A request is one query and 100 candidates that come to 128, 150 or 512 tokens with it, all of one
length: nobody has anything to pad, so that what is compared is the computation and not the packing.

- *pairs/s*: from text to logits, tokenising included, over turns of ``--seconds``; the order turns from round to round.
- *ratio*: ours to theirs of the same round; its median, least and largest.
- *of peak*: the matrix products that our forward alone needs a second, as a share of one large square product's, timed
  in the same rounds. Embeddings, norms and softmax count as nothing.
- *Pearson*: of our logits with theirs, so that nobody is fast at something else.
- *over gRPC*: a sidecar of its own with each model, its cache off: one caller's requests of 100 pairs of 150 tokens,
  and what 8 callers of these, or 32 of 20 pairs, get together; ``--no-door`` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peers.callers import Sidecar
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from rescorer_sidecar.backends.packed_torch import PackedTorchBackend
from rescorer_sidecar.domain import Floats
from rescorer_sidecar.tokenise import Tokeniser

LIMIT_TOKENS = 512
QUERY_WORDS = 8
WORDS = 20_000
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
THEIR_BATCHES = (32, 128)
"""Rows a forward of CrossEncoder: its default, and one that takes the request whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a cross-encoder; every head has ``width / heads``."""

    family: str
    layers: int
    width: int
    heads: int
    inner: int
    words: int

    def products(self, tokens: int) -> float:
        """Floating-point operations of one pair's matrix products, a multiplication and an addition counted as two."""
        linear = 2 * self.width * (4 * self.width + 2 * self.inner)
        return self.layers * tokens * (linear + 4 * tokens * self.width)


SHAPES = {
    "bge-reranker-base": Shape(family="xlm-roberta", layers=12, width=768, heads=12, inner=3072, words=250_002),
    "bge-reranker-large": Shape(family="xlm-roberta", layers=24, width=1024, heads=16, inner=4096, words=250_002),
    "MiniLM-L6": Shape(family="bert", layers=6, width=384, heads=12, inner=1536, words=30_522),
    "MiniLM-L12": Shape(family="bert", layers=12, width=384, heads=12, inner=1536, words=30_522),
}
SMALL = {
    "tiny-xlm-roberta": Shape(family="xlm-roberta", layers=2, width=64, heads=2, inner=128, words=WORDS),
    "tiny-bert": Shape(family="bert", layers=2, width=64, heads=2, inner=128, words=WORDS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How much is run: candidates a request, tokens a pair, rounds, seconds a turn, side of the square product."""

    candidates: int
    lengths: Sequence[int]
    rounds: int
    seconds: float
    side: int


def write_checkpoint(folder: Path, shape: Shape) -> None:
    """Random weights in float16, and a tokenizer that makes one token of each word ``w0`` to ``w19999``."""
    is_bert = shape.family == "bert"
    sizes = {"hidden_size": shape.width, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads}
    sizes |= {"intermediate_size": shape.inner, "vocab_size": shape.words, "type_vocab_size": 2 if is_bert else 1}
    sizes |= {"pad_token_id": 0 if is_bert else 1, "max_position_embeddings": LIMIT_TOKENS + (0 if is_bert else 2)}
    # with the usual range of 0.02, logits of random weights hardly differ
    described = transformers.AutoConfig.for_model(shape.family, **sizes, num_labels=1, initializer_range=0.05)
    torch.manual_seed(0)
    auto: Any = transformers.AutoModelForSequenceClassification
    auto.from_config(described).half().save_pretrained(str(folder))
    tokeniser, pad = _tokeniser(shape)
    fast: Any = transformers.PreTrainedTokenizerFast
    settings = {"pad_token": pad, "model_max_length": LIMIT_TOKENS, "model_input_names": INPUTS[: 3 if is_bert else 2]}
    fast(tokenizer_object=tokeniser, **settings).save_pretrained(str(folder))


def _tokeniser(shape: Shape) -> tuple[Tokenizer, str]:
    """With the special tokens and the pair template of its family; and the name of its padding."""
    if shape.family == "bert":
        specials, pair = ("[PAD]", "[CLS]", "[SEP]", "[UNK]"), "[CLS] $A [SEP] $B:1 [SEP]:1"
    else:
        specials, pair = ("<s>", "<pad>", "</s>", "<unk>"), "<s> $A </s> </s> $B </s>"
    count = min(WORDS, shape.words - len(specials))
    names = {name: place for place, name in enumerate([*specials, *(f"w{number}" for number in range(count))])}
    tokeniser = Tokenizer(models.WordLevel(names, unk_token=specials[3]))
    tokeniser.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    known = [(name, names[name]) for name in specials[:3]]
    tokeniser.post_processor = processors.TemplateProcessing(single="$A", pair=pair, special_tokens=known)
    return tokeniser, next(name for name in specials if "pad" in name.lower())


def request(shape: Shape, candidates: int, tokens: int, seed: int = 0) -> tuple[str, list[str]]:
    """A query and texts; each pair has exactly so many tokens."""
    dice, words = random.Random(tokens + 1000 * seed), tokens - QUERY_WORDS - (3 if shape.family == "bert" else 4)
    counts = [QUERY_WORDS, *[words] * candidates]
    query, *texts = (" ".join(f"w{dice.randrange(WORDS - 10)}" for _ in range(count)) for count in counts)
    return query, texts


Score = Callable[[str, Sequence[str]], Floats]


class Ours:
    """The packed torch backend and the sidecar's tokeniser, one forward a request."""

    def __init__(self, folder: Path, device: str) -> None:
        self._tokeniser = Tokeniser(folder)
        self.backend = PackedTorchBackend(folder, None, device=device, precision="auto")

    def score(self, query: str, texts: Sequence[str]) -> Floats:
        """Logits."""
        return self.backend.forward(self._tokeniser.pairs(query, texts, LIMIT_TOKENS))

    def forward_alone(self, query: str, texts: Sequence[str], tokens: int) -> Callable[[], object]:
        """The forward of texts that are tokenised already; RuntimeError where a pair has other than so many tokens."""
        rows = self._tokeniser.pairs(query, texts, LIMIT_TOKENS)
        if {len(row) for row in rows} != {tokens}:
            raise RuntimeError(f"pairs of {tokens} tokens were wanted, not of {sorted({len(row) for row in rows})}")
        return lambda: self.backend.forward(rows)


def theirs(folder: Path, device: str) -> dict[str, Score]:
    """``CrossEncoder`` at each batch size, in fp16 on a GPU and fp32 on the CPU; empty, said aloud, without it."""
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        print(f"sentence-transformers is skipped, since it can't be imported: {error}", file=sys.stderr)
        return {}
    dtype = torch.float16 if device.startswith("cuda") else torch.float32
    kwargs = {"model_kwargs": {"dtype": dtype}, "activation_fn": torch.nn.Identity()}
    model = CrossEncoder(str(folder), max_length=LIMIT_TOKENS, device=device, **kwargs)

    def score(batch: int, query: str, texts: Sequence[str]) -> Floats:
        pairs = [(query, text) for text in texts]
        return np.asarray(model.predict(pairs, batch_size=batch, show_progress_bar=False), dtype=np.float32)

    return {f"CrossEncoder, batch {batch}": partial(score, batch) for batch in THEIR_BATCHES}


def square_product(device: str, side: int) -> Callable[[], object]:
    """One product of two square matrices, waited for; fp16 on a GPU, fp32 on the CPU."""
    dtype = torch.float16 if device.startswith("cuda") else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def run() -> None:
        for _ in range(8):
            torch.mm(left, right)
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return run


def per_second(work: Callable[[], object], seconds: float) -> float:
    """Runs a second, for at least so long and at least once; each run ends when its results are there."""
    begun_s, runs = time.perf_counter(), 0
    while runs == 0 or time.perf_counter() - begun_s < seconds:
        work()
        runs += 1
    return runs / (time.perf_counter() - begun_s)


def in_turns(contenders: dict[str, Callable[[], object]], work: Work) -> dict[str, list[float]]:
    """Runs a second of each in each round. The first of two warm runs may compile, choose kernels or grow memory."""
    for run in contenders.values():
        run()
        run()
    names, found = list(contenders), {name: list[float]() for name in contenders}
    for turn in range(work.rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(per_second(contenders[name], work.seconds))
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "least": min(values), "largest": max(values)}


def row_of(
    model: tuple[str, Shape], device: str, work: Work, tokens: int, ours: Ours, others: dict[str, Score]
) -> dict[str, Any]:
    """All figures of one model at one length of pair."""
    name, shape = model
    query, texts = request(shape, work.candidates, tokens)
    scores = {"ours": ours.score, **others}
    runs: dict[str, Callable[[], object]] = {who: partial(run, query, texts) for who, run in scores.items()}
    runs |= {"forward": ours.forward_alone(query, texts, tokens), "product": square_product(device, work.side)}
    found = in_turns(runs, work)
    peak = [8 * 2 * work.side**3 * rate for rate in found["product"]]
    needed = [shape.products(tokens) * work.candidates * rate for rate in found["forward"]]
    logits = ours.score(query, texts)
    return {
        "model": name,
        "tokens": tokens,
        "attention": getattr(ours.backend.attention, "__name__", "?"),
        "pairs_per_s": {who: spread([work.candidates * rate for rate in found[who]]) for who in scores},
        "forward_ms": 1000 / statistics.median(found["forward"]),
        "forward_pairs_per_s": spread([work.candidates * rate for rate in found["forward"]]),
        "ratio": {who: spread([a / b for a, b in zip(found["ours"], found[who], strict=True)]) for who in others},
        "peak_tflops": spread([rate / 1e12 for rate in peak]),
        "share_of_peak": spread([a / b for a, b in zip(needed, peak, strict=True)]),
        "pearson": {who: float(np.corrcoef(logits, score(query, texts))[0, 1]) for who, score in others.items()},
    }


def through_the_door(folder: Path, shape: Shape, device: str, work: Work) -> dict[str, Any]:
    """What callers of a sidecar get: ms of a lone request, pairs a second of many callers."""
    sidecar = Sidecar("torch:auto", folder, device=device)
    tokens = work.lengths[1]

    def calls(callers: int, candidates: int) -> list[float]:
        """Ms of each call; every caller asks on for ``work.seconds`` a round, and for other texts each time."""
        asked = [request(shape, candidates, tokens, seed) for seed in range(4 * callers)]
        end_s = time.perf_counter() + work.rounds * work.seconds

        def ask(caller: int) -> list[float]:
            found = list[float]()
            while not found or time.perf_counter() < end_s:
                begun_s = time.perf_counter()
                sidecar.score(*asked[(len(found) * callers + caller) % len(asked)])
                found.append(1000 * (time.perf_counter() - begun_s))
            return found

        with ThreadPoolExecutor(callers) as threads:
            return [ms for found in threads.map(ask, range(callers)) for ms in found]

    rows = dict[str, Any]()
    calls(1, work.candidates)
    for callers, candidates in ((1, work.candidates), (8, work.candidates), (32, max(1, work.candidates // 5))):
        begun_s = time.perf_counter()
        ms = sorted(calls(callers, candidates))
        took_s = time.perf_counter() - begun_s
        rows[f"{callers} callers of {candidates} pairs"] = {
            "p50_ms": statistics.median(ms),
            "p95_ms": ms[int(0.95 * (len(ms) - 1))],
            "pairs_per_s": len(ms) * candidates / took_s,
        }
    sidecar.close()
    return rows


def facts(device: str, work: Work) -> dict[str, Any]:
    """What the figures depend on."""
    on_gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.machine(),
        "cuda": torch.version.cuda if on_gpu else "",
        "precision": "fp16" if on_gpu else "fp32",
        "versions": {
            package: version(package) if find_spec(package.replace("-", "_")) else "absent"
            for package in ("torch", "transformers", "sentence-transformers")
        },
        "work": asdict(work),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown; a line for each model and length."""
    head = "| model | tokens | ms of a forward | pairs/s from text (least–largest) | of peak "
    lines = [f"{head}| ratio to CrossEncoder (least–largest) | Pearson |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        mine, share = row["pairs_per_s"]["ours"], row["share_of_peak"]["median"]
        rate = f"{mine['median']:,.0f} ({mine['least']:,.0f}–{mine['largest']:,.0f})"
        named = [(who.split(", ")[1], *of.values()) for who, of in row["ratio"].items()]
        ratios = "; ".join(f"{who}: {median:.2f} ({least:.2f}–{most:.2f})" for who, median, least, most in named)
        alike = f"{min(row['pearson'].values()):.4f}" if row["pearson"] else "not measured"
        lines.append(
            f"| {row['model']} | {row['tokens']} | {row['forward_ms']:.2f} | {rate} | {share:.0%} "
            f"| {ratios or 'not measured'} | {alike} |"
        )
    return "\n".join(lines)


def door_table(doors: dict[str, dict[str, Any]]) -> str:
    """Markdown; a line for each model and crowd of callers."""
    lines = ["| model, over gRPC | asked by | p50 ms | p95 ms | pairs/s |", "|---|---|---|---|---|"]
    for model, rows in doors.items():
        lines += [
            f"| {model} | {who} | {row['p50_ms']:.1f} | {row['p95_ms']:.1f} | {row['pairs_per_s']:,.0f} |"
            for who, row in rows.items()
        ]
    return "\n".join(lines)


def main() -> int:
    """Print the table, write the JSON; 2 where the GPU that is asked for is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="cuda:N or cpu; default cuda:0")
    parser.add_argument("--small", action="store_true", help="tiny shapes, to try the code")
    parser.add_argument("--only", default="", help="shapes whose name has this in it")
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn; default 0.5")
    parser.add_argument("--no-door", action="store_true", help="leave out the sidecar over gRPC")
    parser.add_argument("--json", type=Path, help="file for all figures")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("torch sees no GPU; --device cpu --small runs the same code on tiny shapes", file=sys.stderr)
        return 2
    candidates, lengths, side = (10, (16, 21, 64), 256) if given.small else (100, (128, 150, 512), 8192)
    work = Work(candidates=candidates, lengths=lengths, rounds=given.rounds, seconds=given.seconds, side=side)
    said, rows, doors = facts(given.device, work), list[dict[str, Any]](), dict[str, dict[str, Any]]()
    shapes = SMALL if given.small else SHAPES
    for name, shape in ((name, shapes[name]) for name in shapes if given.only in name):
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder), shape)
            if not given.no_door:
                doors[name] = through_the_door(Path(folder), shape, given.device, work)
            ours, others = Ours(Path(folder), given.device), theirs(Path(folder), given.device)
        rows += [row_of((name, shape), given.device, work, tokens, ours, others) for tokens in work.lengths]
        if given.json:  # after each model, so that a run that is cut short leaves what it has
            given.json.write_text(
                json.dumps({**said, "rows": rows, "over_grpc": doors}, indent=1) + "\n", encoding="utf-8"
            )
    print(f"{said['device']}, {said['precision']}, {said['versions']}\n\n{table(rows)}")
    if doors:
        print(f"\n{door_table(doors)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
