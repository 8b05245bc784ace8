"""The process of one library: requests as lines of JSON on standard input, answers on standard output.

    python worker.py NAME '{"model": "…", "int8": "…", "cache": "…", "threads": 2}'

The clock runs inside, from texts to logits, so that the pipe costs a library nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import libraries
import limit

PACKAGES = ("torch", "transformers", "sentence-transformers", "openvino", "onnxruntime", "flashrank", "tokenizers")


def versions() -> dict[str, str]:
    """Of those packages that are installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Load, say so, answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    name, raw = sys.argv[1], json.loads(sys.argv[2])
    if name == "limit":
        print(json.dumps(limit.measured(raw["threads"])), file=answers, flush=True)
        return
    scorer = libraries.MAKERS[name](libraries.Settings(**raw))
    print(json.dumps({"detail": scorer.detail, "versions": versions()}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        begun_s = time.perf_counter()
        logits = scorer.score(asked["query"], asked["texts"])
        took_ms = (time.perf_counter() - begun_s) * 1e3
        print(json.dumps({"ms": took_ms, "logits": logits}), file=answers, flush=True)


if __name__ == "__main__":
    main()
