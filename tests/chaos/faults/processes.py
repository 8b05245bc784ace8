"""Sidecars that are stopped, frozen, killed, restarted."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

from chaos.scene import Scene, fault
from rescorer_lab.sidecar import Sidecar


@fault(
    "sidecar-stopped",
    "The only sidecar is stopped with SIGTERM while searches run.",
    must=("reranked", "fallback"),
    is_short=True,
)
def stopped(scene: Scene) -> None:
    """What it has is answered, then every search falls back."""
    victim = scene.sidecar()
    crowd = scene.begin([victim.address])
    crowd.after(20)
    victim.process.terminate()
    victim.process.wait(30)
    scene.counted(crowd)
    scene.proves(refuses(victim.address), "its address refuses connections")


@fault(
    "sidecar-frozen",
    "The only sidecar gets SIGSTOP: its kernel takes connections still, it answers nothing.",
    must=("reranked", "fallback"),
    is_short=True,
)
def frozen(scene: Scene) -> None:
    """F1, F3: those on their way cost their budget, then the breaker opens."""
    victim = scene.sidecar()
    crowd = scene.begin([victim.address])
    crowd.after(20)
    victim.process.send_signal(signal.SIGSTOP)
    scene.counted(crowd)
    scene.proves(state_of(victim) == "T", "the process is in state T (stopped) while searches go on")


@fault(
    "one-of-two-killed",
    "One of two sidecars gets SIGKILL under load, in the middle of a batch.",
    must=("reranked",),
    is_short=True,
)
def one_killed(scene: Scene) -> None:
    """No search is lost, and a second after the kill none falls back."""
    victim, steady = scene.sidecar(), scene.stack.steady_addresses[0]
    crowd = scene.begin([victim.address, steady], searches=30, budget_ms=3000.0)
    crowd.after(20)
    victim.process.kill()
    killed_s = time.monotonic()
    scene.counted(crowd)
    scene.proves(victim.process.poll() == -signal.SIGKILL, "the process ended by SIGKILL with its batch")
    late = [one for one in crowd.seen if one.begun_s > killed_s + 1.0 and one.status == "fallback"]
    scene.demand(not late, "no search that began a second after the kill falls back")


def refuses(address: str) -> bool:
    """Nobody listens there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


def state_of(one: Sidecar) -> str:
    """The letter of its state in /proc."""
    return Path(f"/proc/{one.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
