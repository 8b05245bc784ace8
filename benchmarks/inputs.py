"""How long a million judgments take to read, in each form, beside ir-measures' own reader of TREC files.

    python benchmarks/inputs.py [--judgments 1000000] [--rounds 3]

Prints seconds, least and most of the rounds, and the ratio to the peer on the same file.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ir_measures

from rescorer_lab.inputs import read_qrels

PER_TOPIC = 100


def _files(folder: Path, count: int) -> list[Path]:
    """The same judgments as a TREC file, TSV, CSV and JSONL."""
    chance = random.Random(0)
    rows = [
        (f"q{n // PER_TOPIC}", f"doc{n // PER_TOPIC * 37 + n % PER_TOPIC}", chance.randrange(4)) for n in range(count)
    ]
    texts = {
        "a.qrels": "".join(f"{topic} 0 {document} {grade}\n" for topic, document, grade in rows),
        "a.tsv": "query-id\tcorpus-id\tscore\n" + "".join(f"{t}\t{d}\t{g}\n" for t, d, g in rows),
        "a.csv": "query_id,doc_id,grade\n" + "".join(f"{t},{d},{g}\n" for t, d, g in rows),
        "a.jsonl": "".join(f'{{"query_id": "{t}", "doc_id": "{d}", "grade": {g}}}\n' for t, d, g in rows),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts]


def _theirs(path: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for entry in ir_measures.read_trec_qrels(str(path)):
        found.setdefault(entry.query_id, {})[entry.doc_id] = entry.relevance
    return found


def _seconds(read: Callable[[Path], object], path: Path, rounds: int) -> list[float]:
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        read(path)
        taken.append(time.perf_counter() - begun)
    return taken


def main() -> None:
    """Write the files, read each, print a line for each."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--judgments", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = _files(Path(folder), given.judgments)
        peer = _seconds(_theirs, paths[0], given.rounds)
        print(f"{given.judgments:,} judgments, {given.rounds} rounds, seconds (least … most)")
        print(f"ir-measures  .qrels   {min(peer):.2f} … {max(peer):.2f}")
        for path in paths:
            ours = _seconds(read_qrels, path, given.rounds)
            ratio = min(ours) / min(peer)
            print(f"rescorer     {path.suffix:<8} {min(ours):.2f} … {max(ours):.2f}  ({ratio:.2f} of the peer's)")


if __name__ == "__main__":
    main()
