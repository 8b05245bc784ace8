"""``make chaos``: the real stack through the written list of faults, and one table."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from chaos import faults, scene, stack, table
from chaos.scene import Fault
from chaos.verdict import Row
from rescorer.domain import Engine
from rescorer_lab import engines
from rescorer_lab.demo.stack import interruptible
from rescorer_lab.engines import releases

NODE = "chaos"
PUNCTUAL: dict[Engine, dict[str, str]] = {
    "opensearch": {"search.keep_alive_interval": "1s", "point_in_time.init.keep_alive": "1s"},
    "elasticsearch": {"search.keep_alive_interval": "1s"},
}
"""Points in time expire when they should, and not a minute later."""

EXAMPLES = """examples:
  make chaos                                          the whole list, on a node and sidecars of its own
  make chaos CHAOS=--list                             what is on the list
  make chaos CHAOS="--only sidecar-stopped"           one fault; may be said several times
  make chaos CHAOS="--on elasticsearch"               the same on Elasticsearch, through its client
  make chaos CHAOS="--json chaos.json"                rows, evidence and times as JSON, too
"""


def main(arguments: Sequence[str]) -> int:
    """0 where every fault bit and every promise held, 1 where not, 2 for a wrong command line."""
    asked = _parser().parse_args(arguments)
    if asked.list:
        _say("\n".join(f"{one.name:28} {one.about}" for one in faults.ALL.values()))
        return 0
    chosen = [faults.ALL[name] for name in asked.only] or list(faults.ALL.values())
    scratch = tempfile.TemporaryDirectory(prefix="rescorer-chaos-")
    with interruptible(), scratch as folder, _engine(asked.on, asked.engine) as engine:
        rows = run(chosen, engine, Path(folder))
    _say("\n".join(table.lines(rows)))
    if asked.json is not None:
        asked.json.write_text(json.dumps([row.as_dict() for row in rows], indent=2) + "\n")
    return int(any(row.complaints for row in rows))


def run(chosen: Sequence[Fault], engine: str, folder: Path) -> list[Row]:
    """One fault after the other, told as they happen."""
    rows = []
    with stack.running(engine, folder) as running:
        for one in chosen:
            rows.append(scene.happened(one, running))
            _say(table.told(rows[-1]))
    return rows


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def _engine(kind: Engine, address: str | None) -> Iterator[str]:
    """The node that is named, or one of this suite's own, which is gone afterwards."""
    if address is not None:
        yield address
        return
    release = releases.find(kind)
    node = engines.start_release(replace(release, settings={**release.settings, **PUNCTUAL[kind]}), name=NODE, say=_say)
    try:
        yield node.url
    finally:
        engines.down(NODE, say=_say)
        shutil.rmtree(node.folder)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="make chaos", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--only", action="append", default=[], metavar="NAME", choices=list(faults.ALL), help="this fault"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    made.add_argument("--list", action="store_true", help="print the list, run nothing")
    made.add_argument("--engine", metavar="URL", help="a node that runs already; faults leave it alone")
    made.add_argument("--on", choices=list(PUNCTUAL), default="opensearch", help="which engine, if not that one")
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
