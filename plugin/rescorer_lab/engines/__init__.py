"""Real engine nodes on loopback without Docker: assembled from Maven Central, run as an unprivileged user.

A release is unpacked once into a home that nodes share and never write to. Each node has a folder of its own with
configuration, data, logs and ``state.json``, which names the process so exactly that ``down`` can stop nothing else.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rescorer_lab import downloads
from rescorer_lab.downloads import Say
from rescorer_lab.engines import assembly, java, process, releases
from rescorer_lab.engines.process import Identity
from rescorer_lab.engines.release import Release
from rescorer_lab.errors import EngineError

UNPRIVILEGED = "nobody"
PROBES = 3
READY_WITHIN_S = 240.0
POLL_S = 0.2
LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy of the environment has no business between two processes of one machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that was started here. ``folder`` holds its configuration, data and logs."""

    name: str
    engine: str
    version: str
    port: int
    heap: str
    folder: Path
    identity: Identity

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Its process runs."""
        return self.identity.is_alive

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / "logs" / "node.log"


def up(  # the six things that make one node differ from another
    engine: str = "opensearch",
    *,
    version: str | None = None,
    port: int = 0,
    heap: str = "512m",
    name: str = "default",
    say: Say = print,
) -> Node:
    """Start the node ``name`` and return it once it answers; one that runs already is returned as it is.

    port 0 takes a free one. heap is what Java takes for -Xmx. Data of an earlier run under this name is kept.
    Raises EngineError, DownloadError.
    """
    return start_release(releases.find(engine, version), port=port, heap=heap, name=name, say=say)


def start_release(
    release: Release,
    *,
    port: int = 0,
    heap: str = "512m",
    name: str = "default",
    say: Say = print,
    ready_within_s: float = READY_WITHIN_S,
) -> Node:
    """As :func:`up`, for a release that is described by the caller."""
    earlier = find(name)
    if earlier is not None and (earlier.engine, earlier.version) != (release.engine, release.version):
        _make_way(earlier)
    elif earlier is not None and earlier.is_alive:
        say(f"{earlier.engine} {earlier.version} runs already on {earlier.url} (node {name})")
        _wait(release, earlier, ready_within_s)
        return earlier
    if not re.fullmatch(r"[1-9]\d*[mMgG]", heap):
        raise EngineError(f"heap {heap!r} is no size", "write it as Java does, such as 512m or 1g")
    wanted = Node(
        name=name,
        engine=release.engine,
        version=release.version,
        port=_free_port(port),
        heap=heap,
        folder=_folder(name),
        identity=Identity(pid=0, began=0),
    )
    try:
        return _started(release, wanted, say, ready_within_s)
    except OSError as error:
        mend = "check the folder and its space, or name another with RESCORER_CACHE"
        raise EngineError(f"{error.filename or downloads.cache_folder()}: {error.strerror or error}", mend) from error


def _make_way(other: Node) -> None:
    """Raise EngineError where a node of another release runs under the name, or has left data that are not for this."""
    if other.is_alive:
        mend = f"stop it first: rescorer engine down --name {other.name}, or choose another --name"
        raise EngineError(f"node {other.name} runs {other.engine} {other.version}", mend)
    if any((other.folder / "data").glob("*")):
        mend = f"choose another --name, or delete {other.folder}"
        raise EngineError(f"node {other.name} holds data of {other.engine} {other.version}", mend)


def _started(release: Release, wanted: Node, say: Say, ready_within_s: float) -> Node:
    java_home = java.home(release, say)
    home = assembly.home(release, java_home, say)
    _prepare(release, home, wanted)
    begun_s = time.monotonic()
    say(f"starting {wanted.engine} {wanted.version} on port {wanted.port} (node {wanted.name}, heap {wanted.heap})")
    node = _start(release, home, java_home, wanted)
    _wait(release, node, ready_within_s)
    say(f"  ready on {node.url} after {time.monotonic() - begun_s:.1f} s (process {node.identity.pid})")
    return node


def down(name: str = "default", *, say: Say = print) -> bool:
    """Stop the node; its data stays. False where there is none or it does not run."""
    node = find(name)
    if node is None or not node.is_alive:
        return False
    begun_s = time.monotonic()
    process.stop(node.identity)
    say(f"{node.engine} {node.version} (node {name}) has stopped after {time.monotonic() - begun_s:.1f} s")
    return True


def find(name: str) -> Node | None:
    """The node that was started under this name, running or not."""
    try:
        state = json.loads((_folder(name) / "state.json").read_text())
        return Node(**state | {"folder": Path(state["folder"]), "identity": Identity(**state["identity"])})
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None


def nodes() -> list[Node]:
    """Every node that was ever started here, by name."""
    folder = downloads.cache_folder() / "engines"
    found = (find(path.name) for path in sorted(folder.glob("*")) if path.is_dir())
    return [node for node in found if node is not None]


def health(node: Node, patience_s: float = 2.0) -> str:
    """The node's own word for its health, ``stopped``, or ``no answer``."""
    if not node.is_alive:
        return "stopped"
    try:
        with LOOPBACK.open(f"{node.url}/_cluster/health", timeout=patience_s) as reply:
            return str(json.load(reply)["status"])
    except (OSError, ValueError, KeyError):
        return "no answer"


def tail(node: Node, lines: int) -> str:
    """The last lines that the node printed."""
    try:
        return "\n".join(node.log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _folder(name: str) -> Path:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise EngineError(f"node name {name!r} is not usable", "use lower-case letters, digits and hyphens")
    return downloads.cache_folder() / "engines" / name


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise EngineError(
                f"port {wanted} is in use or not allowed", "choose another, or --port 0 for a free one"
            ) from error
        return int(probe.getsockname()[1])


def _prepare(release: Release, home: Path, node: Node) -> None:
    folder = node.folder
    for part in ("data", "logs", "tmp"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    config = folder / "config"
    shutil.rmtree(config, ignore_errors=True)
    shutil.copytree(home / "config", config)
    options = (home / "config" / "jvm.options").read_text().splitlines()
    kept = [line for line in options if not line.startswith(release.dropped_jvm_options)]
    (config / "jvm.options").write_text("\n".join(kept) + "\n")
    lines = {
        "cluster.name": f"rescorer-{node.name}",
        "node.name": node.name,
        "network.host": "127.0.0.1",
        "http.port": node.port,
        "transport.port": _free_port(0),
        "discovery.type": "single-node",
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        "path.data": folder / "data",
        "path.logs": folder / "logs",
        **release.settings,
    }
    (config / f"{release.engine}.yml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))


def _start(release: Release, home: Path, java_home: Path, node: Node) -> Node:
    user = _unprivileged(node.folder, java_home) if os.geteuid() == 0 else None
    prefix = release.variable_prefix
    options = (f"-Xms{node.heap} -Xmx{node.heap} -XX:-AlwaysPreTouch -XX:TieredStopAtLevel=1", *release.java_options)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(node.folder / "tmp"),
        "LANG": "C.UTF-8",
        f"{prefix}_JAVA_HOME": str(java_home),
        f"{prefix}_JAVA_OPTS": " ".join(options),
        f"{prefix}_PATH_CONF": str(node.folder / "config"),
        f"{prefix}_TMPDIR": str(node.folder / "tmp"),
    }
    node.log.unlink(missing_ok=True)
    command = ["bash", str(home / release.command)]
    identity = process.start(command, folder=home, environment=environment, log=node.log, user=user)
    started: dict[str, Any] = asdict(node) | {"folder": str(node.folder), "identity": asdict(identity)}
    (node.folder / "state.json").write_text(json.dumps(started, indent=2))
    return Node(**asdict(node) | {"identity": identity})


def _holds(question: Sequence[str], drop: dict[str, Any]) -> bool:
    """Whether a command that asks something as this user says yes.

    It is asked again where it died instead: threads of gRPC may take down the child of a process that forks.
    """
    code = -1
    for _ in range(PROBES):
        if code < 0:
            code = subprocess.run(question, check=False, **drop).returncode
    return code == 0


def _unprivileged(folder: Path, java_home: Path) -> pwd.struct_passwd:
    """The user that runs the node instead of root, given the node's folder; EngineError where it can't get there."""
    user = pwd.getpwnam(UNPRIVILEGED)
    for base, _, files in os.walk(folder):
        for path in (Path(base), *(Path(base) / name for name in files)):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    drop: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    for test, needed in (("-w", folder / "data"), ("-x", java_home / "bin" / "java")):
        if not _holds(["test", test, str(needed)], drop):
            raise EngineError(
                f"the engine must not run as root, and user {UNPRIVILEGED} can't reach {needed}",
                "name a folder that everyone may enter with RESCORER_CACHE, for instance /var/cache/rescorer",
            )
    return user


def _wait(release: Release, node: Node, ready_within_s: float) -> None:
    """Until the node is ready; a foreign process tells nobody when it is, so it is asked."""
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < ready_within_s:
        if not node.is_alive:
            raise EngineError(f"{node.engine} ended at its start: {_last_reason(node)}", _see_logs(node))
        if _is_ready(release, node):
            return
        time.sleep(POLL_S)
    process.stop(node.identity)
    raise EngineError(f"{node.engine} did not answer within {ready_within_s:.0f} s and was stopped", _see_logs(node))


def _is_ready(release: Release, node: Node) -> bool:
    """It is this engine that answers, its health is no worse than yellow, and the tasks of its start are done.

    Among those tasks are its licence and its templates, which the first request may already need.
    """
    url = f"{node.url}/_cluster/health?wait_for_status=yellow&wait_for_events=languid&timeout=5s"
    name, value = release.answers_with or ("", None)
    try:
        with LOOPBACK.open(url, timeout=10) as reply:
            return reply.headers.get(name) == value and not json.load(reply)["timed_out"]
    except (urllib.error.URLError, OSError, ValueError, KeyError):
        return False


def _last_reason(node: Node) -> str:
    lines = tail(node, 200).splitlines()
    for telling in (
        r"OutOfMemoryError|insufficient memory",
        r"^(Caused by|\S+(Exception|Error)): ",
        r"[Ee]rror|[Ff]atal|Invalid",
    ):
        found = [line for line in lines if re.search(telling, line)]
        if found:
            return found[0][:300]
    return (lines or ["it printed nothing"])[-1][:300]


def _see_logs(node: Node) -> str:
    return f"see: rescorer engine logs --name {node.name}"
