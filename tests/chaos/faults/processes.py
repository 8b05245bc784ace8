"""Sidecars that are stopped, frozen, killed, restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chaos.harm import cold_sidecar, cpu_s, long_request, refuses, state, until
from chaos.scene import ENDLESS, Scene, fault
from contract.scorers import faulty
from end_to_end.redis_server import RedisServer, free_port, redis_server
from rescorer_lab import models
from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc


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
    scene.proves(state(victim.process.pid) == "T", "the process is in state T (stopped) while searches go on")


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


@fault(
    "killed-in-mid-batch",
    "One of two sidecars gets SIGKILL while 300 long pairs are in its model.",
    must=("reranked",),
)
def killed_in_mid_batch(scene: Scene) -> None:
    """Whoever waited for it hears of it, and the searches go on at the other one."""
    victim = scene.sidecar()
    crowd = scene.begin([victim.address, scene.stack.steady_addresses[0]], searches=ENDLESS, budget_ms=5000.0)
    crowd.after(4)
    channel = scene.hold(grpc.insecure_channel(victim.address))
    before_s = cpu_s(victim)
    call = rescorer_pb2_grpc.RescorerStub(channel).Score.future(long_request(300), timeout=60)
    in_batch = until(lambda: cpu_s(victim) > before_s + 0.5)
    is_waiting = not call.done()
    victim.process.kill()
    code = call.exception(timeout=30).code()
    scene.proves(in_batch and is_waiting, "it had used 0.5 s of processor time for them, and had not answered")
    scene.demand(code is grpc.StatusCode.UNAVAILABLE, f"the call ends with UNAVAILABLE; it ended with {code.name}")
    crowd.after_more(20)
    crowd.enough()
    scene.counted(crowd)


@fault(
    "one-of-two-frozen",
    "One of two sidecars gets SIGSTOP under load.",
    must=("reranked", "fallback"),
)
def one_frozen(scene: Scene) -> None:
    """Those that it holds cost their budget; then it is left alone, and finding out costs nobody anything."""
    victim = scene.sidecar()
    crowd = scene.begin([victim.address, scene.stack.steady_addresses[0]], searches=ENDLESS, budget_ms=1500.0)
    crowd.after(20)
    victim.process.send_signal(signal.SIGSTOP)
    crowd.after_more(60)
    left = len(crowd.seen)
    crowd.after_more(20)
    crowd.enough()
    scene.counted(crowd)
    scene.proves(state(victim.process.pid) == "T", "the process is in state T (stopped) while searches go on")
    late = [one for one in crowd.seen[left:] if one.status == "fallback"]
    scene.demand(not late, f"none of the last {len(crowd.seen) - left} searches falls back")


@fault(
    "sidecar-restarted",
    "The only sidecar is killed and started again at the same address.",
    must=("reranked", "fallback"),
)
def restarted(scene: Scene) -> None:
    """The client finds it again by itself."""
    port = str(free_port())
    victim = scene.sidecar("--port", port)
    crowd = scene.begin([victim.address], searches=ENDLESS, pause_s=0.05, budget_ms=1500.0)
    crowd.after(20)
    victim.process.kill()
    victim.process.wait()
    crowd.after_more(20)
    again = scene.sidecar("--port", port)
    is_found = until(lambda: crowd.seen[-1].status == "reranked", within_s=10.0)
    crowd.enough()
    scene.counted(crowd)
    other = again.process.pid != victim.process.pid
    scene.proves(other and again.address == victim.address, "another process serves at the same address")
    scene.demand(is_found, "the same client's searches are reranked again within 10 s of its start")


@fault(
    "one-of-two-drains",
    "One of two sidecars gets SIGTERM under load, and drains.",
    may=("reranked", "partial"),
    must=("reranked",),
)
def drains(scene: Scene) -> None:
    """What it has it answers; the rest goes to the other one, and no search falls back."""
    victim = scene.sidecar()
    crowd = scene.begin([victim.address, scene.stack.steady_addresses[0]], searches=ENDLESS, budget_ms=5000.0)
    crowd.after(20)
    victim.process.terminate()
    crowd.after_more(20)
    code = victim.process.wait(30)
    victim.listener.join()
    crowd.enough()
    scene.counted(crowd)
    said = victim.log.read_text().splitlines()[-1]
    scene.proves((code, said) == (0, "rescorer-sidecar has stopped"), f"it ended with {code} and said: {said}")


@fault(
    "nobody-there",
    "A closed port, a full queue of connections, and a name whose name server is silent.",
    may=("fallback",),
    must=("fallback",),
)
def nobody_there(scene: Scene) -> None:
    """All three in one list of sidecars."""
    closed = f"127.0.0.1:{free_port()}"
    scene.searches([closed, scene.hold(faulty.deaf()), scene.hold(faulty.silent_name_server())])
    scene.proves(refuses(closed), "the closed port refuses connections; the other two never answer")


@fault("model-missing", "The searches name a model that no sidecar serves.", may=("fallback",), must=("fallback",))
def model_missing(scene: Scene) -> None:
    """A refusal is final: said, and not tried again elsewhere."""
    address = scene.stack.steady_addresses[0]
    scene.searches(scene.stack.steady_addresses, cross_encoder={"model": "no-such-model"})
    with grpc.insecure_channel(address) as channel:
        request = wire.ScoreRequest(query="q", candidates=[wire.Candidate(id="a", text="a")], model="no-such-model")
        code = rescorer_pb2_grpc.RescorerStub(channel).Score.future(request, timeout=10).exception().code()
    scene.proves(code is grpc.StatusCode.NOT_FOUND, "the sidecar answers NOT_FOUND")
    scene.demand({one.reason for one in scene.seen} == {"scorer_refused"}, "every reason is scorer_refused")


@fault("model-not-warm", "A sidecar is up, and its model is not there yet.", must=("reranked", "fallback"))
def not_warm(scene: Scene) -> None:
    """Alone it makes searches fall back; beside a warm one it costs nobody anything."""
    address = scene.hold(cold_sidecar(scene.stack.folder))
    scene.searches([address], searches=20)
    beside = scene.searches([address, scene.stack.steady_addresses[0]], searches=20, budget_ms=5000.0)
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10).status
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    scene.proves(health == not_serving, "its health says NOT_SERVING from the first search to the last")
    scene.demand(all(one.status != "fallback" for one in beside), "no search falls back beside a warm one")


@fault(
    "swapped-in-mid-request",
    "The model of the only sidecar is swapped for another version, and back, while searches run.",
    may=("reranked", "partial"),
    must=("reranked",),
)
def swapped(scene: Scene) -> None:
    """Each search is answered by one of the two, and none notices. The new one is compared in pauses of the load."""
    port = str(free_port())
    only = scene.sidecar("--admin-port", port)
    crowd = scene.begin([only.address], searches=ENDLESS, at_a_time=1, pause_s=0.3, budget_ms=8000.0)
    crowd.after(4)
    version = str(models.fetch(models.RECOVERED, lambda line: None))
    ends = [_admin(port, "swap", version, "--shadow", "3", "--share", "1")]
    crowd.after_more(8)
    ends.append(_admin(port, "rollback"))
    crowd.after_more(8)
    crowd.enough()
    scene.counted(crowd)
    scene.proves(ends == ["", ""], f"swap and roll-back succeed while searches run {' '.join(ends)}".rstrip())


@fault(
    "shared-cache-dead",
    "The Redis that sidecars share scores through is frozen, then killed.",
    may=("reranked", "partial"),
    must=("reranked",),
)
def cache_dead(scene: Scene) -> None:
    """It costs a request some milliseconds at most, and no score."""
    folder = scene.stack.folder / "redis"
    folder.mkdir()
    try:
        redis: RedisServer = scene.hold(redis_server(folder))
    except pytest.skip.Exception as missing:  # to a test it is a reason to be skipped, here it is one to fail
        raise RuntimeError(str(missing)) from missing
    only = scene.sidecar("--shared-cache", redis.address)
    crowd = scene.begin([only.address], searches=ENDLESS, budget_ms=5000.0)
    crowd.after(10)
    redis.freeze()
    crowd.after_more(20)
    was_frozen = state(redis.process.pid) == "T"
    redis.process.kill()
    redis.process.wait()
    crowd.after_more(20)
    crowd.enough()
    scene.counted(crowd)
    greeted = f"shared cache {redis.address} answers" in only.log.read_text()
    scene.proves(greeted and was_frozen, "the sidecar was greeted by it, then it was in state T, then it was gone")


def _admin(port: str, *words: str) -> str:
    """What the command says where it fails, else nothing."""
    command = [sys.executable, "-m", "rescorer_lab", "sidecar", *words]
    environment = {**os.environ, "RESCORER_ADMIN": f"127.0.0.1:{port}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=80, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
