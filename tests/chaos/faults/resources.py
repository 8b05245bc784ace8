"""Memory, descriptors, disk and clock that a process can't rely on.

## Decisions
2026-11: a small library of our own moves wall clocks. libfaketime moves sleeps along with them: Python's
``time.sleep`` then fails with EINVAL, which no clock that jumps makes it do.
"""

from __future__ import annotations

import itertools
import resource
import shutil
import struct
import subprocess
from pathlib import Path

import grpc

from chaos import crowd
from chaos.harm import descriptors_of, full_disk, long_request, memory_mb, refused_by_disk, until
from chaos.scene import ENDLESS, Scene, fault
from chaos.verdict import Seen
from rescorer_lab import models
from rescorer_lab.sidecar import COMMAND
from rescorer_proto.v1 import rescorer_pb2_grpc

SOURCE = Path(__file__).parents[1] / "wall_clock.c"
DAY_S, HOUR_S = 86_400, 3_600


@fault(
    "out-of-memory-in-a-batch",
    "The only sidecar, with its float model, may take 32 MB more, and a batch of 30,000 tokens wants more than that.",
    must=("reranked",),
)
def out_of_memory(scene: Scene) -> None:
    """A real allocation fails in the middle of a batch, which is run again in halves until it fits."""
    victim = scene.sidecar("--budget-tokens", "60000", model=models.RECOVERED)
    crowd = scene.begin([victim.address], searches=ENDLESS, budget_ms=3000.0)
    crowd.after(4)
    limit = int((memory_mb(victim, "VmSize") + 32) * 2**20)
    resource.prlimit(victim.process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    with grpc.insecure_channel(victim.address) as channel:
        answer = rescorer_pb2_grpc.RescorerStub(channel).Score(long_request(60), timeout=60)
    crowd.after_more(4)
    crowd.enough()
    scene.counted(crowd)
    halved = [line for line in victim.log.read_text().splitlines() if "is run again in halves: MemoryError" in line]
    scene.proves(bool(halved), f"{len(halved)} batches ended with MemoryError and were run again in halves")
    scene.demand(len(answer.results) == 60, f"all 60 pairs are scored; {len(answer.results)} are")


@fault(
    "descriptors-exhausted",
    "The only sidecar may open no descriptor more, so that nobody new can connect, and then may again.",
    must=("reranked", "fallback"),
)
def descriptors(scene: Scene) -> None:
    """Whoever is connected is served; whoever comes falls back."""
    victim = scene.sidecar()
    pid = victim.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    open_now = descriptors_of(pid)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now, before[1]))
    scene.searches([victim.address])
    full = descriptors_of(pid) >= open_now
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    well = until(lambda: scene.searches([victim.address], searches=2, budget_ms=5000.0)[-1].status == "reranked")
    scene.proves(full, f"all of its {open_now} descriptors are in use")
    scene.demand(well, "a search is reranked within 30 s of there being descriptors again")


@fault(
    "disk-full",
    "The only sidecar writes its log, and whatever else it writes, to a disk without a free byte.",
    may=("reranked", "partial"),
    must=("reranked",),
)
def disk_full(scene: Scene) -> None:
    """A log that can't be written costs no score."""
    disk = scene.stack.folder / "disk"
    address, pid = scene.hold(full_disk(disk))
    scene.searches([address], searches=20, budget_ms=5000.0)
    scene.proves(refused_by_disk(pid, disk), "a write to its disk ends with ENOSPC")


@fault(
    "clock-jumps",
    "The wall clocks of the only sidecar and of the searching process jump by days, ahead and back.",
    may=("reranked", "partial"),
    must=("reranked",),
)
def clock_jumps(scene: Scene) -> None:
    """Deadlines and budgets are kept by clocks that only grow."""
    ahead = scene.stack.folder / "ahead"
    _set(ahead, 0)
    preload = _preload(scene.stack.folder / "wall_clock.so", ahead)
    only = scene.sidecar(command=("env", *(f"{name}={value}" for name, value in preload.items()), *COMMAND))
    travellers = scene.hold(crowd.processes(1, scene.stack.folder / "travellers.log", **preload))
    load = scene.begin([only.address], searches=ENDLESS, processes=travellers, budget_ms=5000.0)
    for days in (1, -1, 0, 30, 0):
        load.after_more(4)
        _set(ahead, days * DAY_S)
    load.after_more(4)
    load.enough()
    scene.counted(load)
    jumps = _jumps(load.seen)
    is_loaded = "wall_clock.so" in Path(f"/proc/{only.process.pid}/maps").read_text()
    scene.proves(is_loaded and jumps >= 4, f"the wall clock jumped {jumps} times by more than an hour between searches")


def _set(ahead: Path, seconds: int) -> None:
    """Write in place: the file is mapped by those whose clocks it moves."""
    with ahead.open("r+b" if ahead.exists() else "wb") as file:
        file.write(struct.pack("=q", seconds))


def _preload(library: Path, ahead: Path) -> dict[str, str]:
    """The environment of a process whose wall clock is as far ahead as the file says."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("a C compiler is missing; run: apt-get install gcc libc6-dev")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True, capture_output=True)
    return {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(ahead)}


def _jumps(seen: list[Seen]) -> int:
    """How often wall clock and steady clock came apart by more than an hour from one search to the next."""
    apart_s = [one.wall_s - one.begun_s for one in sorted(seen, key=lambda one: one.begun_s)]
    return sum(abs(after - before) > HOUR_S for before, after in itertools.pairwise(apart_s))
