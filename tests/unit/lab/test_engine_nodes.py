"""A node from nothing to stopped, with a toy for an engine: what is kept, what is shared, what the user reads."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import pwd
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rescorer_lab import engines
from rescorer_lab.engines import Node, assembly
from rescorer_lab.engines.process import Identity
from rescorer_lab.engines.release import Artifact, Release
from rescorer_lab.errors import EngineError
from unit.lab.toy_engine import Toy

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the node as another user")


def _up(toy: Toy, does: str = "answers", **wishes: object) -> Node:
    return engines.start_release(toy.release(does), say=toy.said.append, **wishes)  # type: ignore[arg-type]  # wishes


def _home(release: Release) -> Path:
    return engines.downloads.cache_folder() / "engine-homes" / release.home_name


def _failed(toy: Toy, does: str = "answers", **wishes: object) -> str:
    with pytest.raises(EngineError) as caught:
        _up(toy, does, **wishes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _state(name: str = "default") -> Path:
    return engines.downloads.cache_folder() / "engines" / name / "state.json"


def test_a_node_comes_up_and_answers(toy: Toy) -> None:
    """From an empty cache to a node that answers on loopback, each step told with its time."""
    node = _up(toy, name="first", heap="64m")
    with engines.LOOPBACK.open(f"{node.url}/") as reply:
        assert json.load(reply)["status"] == "green"
    assert (node.is_alive, engines.health(node), node.url) == (True, "green", f"http://127.0.0.1:{node.port}")
    told = [re.sub(r"\d+\.\d s", "N s", line) for line in toy.said]
    assert told == [
        "downloading toy 1.0 (1 MB, licence: MIT)",
        "  done in N s",
        f"  unpacked into {toy.folder}/cache/engine-homes/{toy.release().home_name} in N s",
        "  deleted its archives, also from Maven's local repository (0 MB)",
        f"starting toy 1.0 on port {node.port} (node first, heap 64m)",
        f"  ready on {node.url} after N s (process {node.identity.pid})",
    ]


def test_a_node_that_is_not_ready_yet_is_waited_for(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals at the start are no failure."""
    monkeypatch.setenv("TOY_JAVA_HOME", str(toy.folder / "java-2"))
    assert engines.health(_up(toy)) == "green"


def test_a_proxy_of_the_environment_is_not_asked_for_a_node_on_this_machine(toy: Toy) -> None:
    """A command that was started with http_proxy set to nowhere reaches the node all the same."""
    _up(toy)
    code = "from rescorer_lab import engines; print(engines.health(engines.find('default')))"
    proxied = os.environ | {"http_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run([sys.executable, "-c", code], env=proxied, capture_output=True, text=True, check=True)
    assert done.stdout == "green\n"


def test_a_second_up_returns_the_node_that_runs(toy: Toy) -> None:
    """The same process on the same port, whatever port is wished the second time."""
    node = _up(toy)
    again = _up(toy, port=1)
    assert again == node
    assert toy.said[-1] == f"toy 1.0 runs already on {node.url} (node default)"


def test_another_release_under_the_name_of_a_running_node_is_refused(toy: Toy) -> None:
    """Nobody gets an engine that was not asked for; the line says how to have both."""
    _up(toy)
    with pytest.raises(EngineError) as caught:
        engines.start_release(toy.release(version="2.0"), say=toy.said.append)
    assert str(caught.value) == (
        "node default runs toy 1.0; stop it first: rescorer engine down --name default, or choose another --name"
    )


def test_data_of_another_release_are_not_given_to_an_engine(toy: Toy) -> None:
    """A stopped node keeps its data from being read, or spoilt, by a release that did not write them."""
    folder = _up(toy).folder
    engines.down(say=toy.said.append)
    with pytest.raises(EngineError) as caught:
        engines.start_release(toy.release(version="2.0"), say=toy.said.append)
    assert str(caught.value) == f"node default holds data of toy 1.0; choose another --name, or delete {folder}"


def test_a_release_that_left_no_data_makes_way_for_another(toy: Toy) -> None:
    """After a start that failed, another version can be tried under the same name."""
    _failed(toy, "ends")
    assert engines.start_release(toy.release(version="2.0"), say=toy.said.append).version == "2.0"


def test_down_stops_the_node_once_and_keeps_its_data(toy: Toy) -> None:
    """The first down stops it, the second finds nothing, and the data stay for the next up."""
    node = _up(toy)
    assert engines.down(say=toy.said.append)
    assert not engines.down(say=toy.said.append)
    assert (node.is_alive, engines.health(node)) == (False, "stopped")
    (node.folder / "data" / "kept").write_text("index")
    assert (_up(toy).folder / "data" / "kept").read_text() == "index"


def test_down_never_stops_a_process_that_took_over_the_id(toy: Toy) -> None:
    """With the birth in the state file changed, the process under that id is a stranger's and lives on."""
    node = _up(toy)
    whole = _state().read_text()
    state = json.loads(whole)
    state["identity"]["began"] += 1
    _state().write_text(json.dumps(state))
    assert not engines.down(say=toy.said.append)
    assert node.is_alive
    _state().write_text(whole)


def test_two_nodes_share_the_home_and_nothing_else(toy: Toy) -> None:
    """One download and one home serve both; ports, folders and processes differ."""
    one, two = _up(toy, name="one"), _up(toy, name="two")
    assert len(toy.maven_calls()) == 1
    assert one.port != two.port
    assert one.folder != two.folder
    assert one.identity != two.identity
    assert engines.nodes() == [one, two]


def test_the_home_is_whole_and_without_what_a_search_node_does_not_need(toy: Toy) -> None:
    """Unwanted modules are gone, the zips too, and no half folder stands beside the home."""
    _up(toy)
    homes = toy.folder / "cache" / "engine-homes"
    assert [path.name for path in homes.iterdir()] == [toy.release().home_name]
    assert not (homes / toy.release().home_name / "modules" / "unwanted").exists()


def test_what_is_not_needed_may_be_named_by_a_pattern(toy: Toy) -> None:
    """A star stands for files and folders alike, and what it does not match stays."""
    release = dataclasses.replace(toy.release(), removed=("bin/*.py", "mod*"))
    assembly.home(release, toy.java, toy.said.append)
    assert sorted(path.name for path in _home(release).iterdir()) == ["bin", "config", "plugins"]
    assert [path.name for path in (_home(release) / "bin").iterdir()] == ["toy"]


def test_what_the_artifacts_lack_is_written(toy: Toy) -> None:
    """Files with their folders, and the folder of plugins that an engine wants to find."""
    release = dataclasses.replace(toy.release(), written={"modules/m/descriptor": "name=m\n"})
    assembly.home(release, toy.java, toy.said.append)
    assert (_home(release) / "modules" / "m" / "descriptor").read_text() == "name=m\n"
    assert list((_home(release) / "plugins").iterdir()) == []


def test_a_jar_is_put_whole_where_the_release_says(toy: Toy) -> None:
    """Into ``lib`` or into a module's own folder, beside the others there."""
    (toy.folder / "central").mkdir()
    jars = []
    for name, folder in (("one", "lib"), ("two", "modules/m"), ("three", "modules/m")):
        content = name.encode()
        (toy.folder / "central" / f"{name}-1.0.jar").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        jars.append(Artifact(coordinate=f"a.group:{name}:1.0", sha256=sha256, folder=folder))
    release = toy.release()
    release = dataclasses.replace(release, artifacts=(*release.artifacts, *jars))
    assembly.home(release, toy.java, toy.said.append)
    found = {str(path.relative_to(_home(release))) for path in _home(release).rglob("*.jar")}
    assert found == {"lib/one-1.0.jar", "modules/m/two-1.0.jar", "modules/m/three-1.0.jar"}


def test_an_archive_is_not_kept_beside_what_was_unpacked_from_it(toy: Toy) -> None:
    """Neither where it was unpacked from nor in Maven's repository, whose other files stay."""
    other = toy.folder / "cache" / "maven" / "a" / "group" / "other" / "1.0" / "other-1.0.jar"
    other.parent.mkdir(parents=True)
    other.touch()
    assembly.home(toy.release(), toy.java, toy.said.append)
    files = {path.name for path in (toy.folder / "cache").rglob("*") if path.suffix in {".zip", ".jar"}}
    assert files == {"other-1.0.jar"}
    assert toy.said[-1] == "  deleted its archives, also from Maven's local repository (0 MB)"


def test_a_home_that_another_process_assembles_is_waited_for(toy: Toy) -> None:
    """The wait is told, nothing is fetched a second time, and nobody writes into the other's half home."""
    release = toy.release()
    (toy.folder / "cache").mkdir()
    waiting = threading.Thread(target=assembly.home, args=(release, toy.java, toy.said.append))
    with (toy.folder / "cache" / "engine-homes.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        _home(release).mkdir(parents=True)
    waiting.join()
    assert toy.said == ["waiting for another command that assembles an engine"]
    assert toy.maven_calls() == []


def test_a_release_made_of_other_files_gets_a_home_of_its_own(toy: Toy) -> None:
    """A home that an earlier description made is not taken for the one that this description means."""
    release = toy.release()
    (artifact,) = release.artifacts
    others = (
        dataclasses.replace(release, removed=()),
        dataclasses.replace(release, written={"modules/m/descriptor": ""}),
        dataclasses.replace(release, artifacts=(dataclasses.replace(artifact, sha256="0" * 64),)),
        dataclasses.replace(release, artifacts=(dataclasses.replace(artifact, members={"": "lib/"}),)),
        dataclasses.replace(release, artifacts=(dataclasses.replace(artifact, folder="modules/m"),)),
    )
    assert len({release.home_name, *(other.home_name for other in others)}) == 6


def test_an_interrupted_assembly_is_begun_anew(toy: Toy) -> None:
    """A half home of a run that was killed is neither used nor mixed into the new one."""
    partial = toy.folder / "cache" / "engine-homes" / f"{toy.release().home_name}.partial"
    partial.mkdir(parents=True)
    (partial / "stale").write_text("half")
    _up(toy)
    assert not (partial.with_name(toy.release().home_name) / "stale").exists()


def test_a_node_has_a_configuration_of_its_own_on_loopback(toy: Toy) -> None:
    """Address, port, folders and JVM options are the node's; lines that write into the shared home are gone."""
    node = _up(toy, heap="96m")
    lines = dict(line.split(": ") for line in (node.folder / "config" / "toy.yml").read_text().splitlines())
    assert lines["network.host"] == "127.0.0.1"
    assert lines["http.port"] == str(node.port)
    assert lines["path.data"] == str(node.folder / "data")
    assert lines["transport.port"] not in {lines["http.port"], "0"}
    assert (node.folder / "config" / "jvm.options").read_text() == "-Xkept\n"
    assert "-Xms96m -Xmx96m" in engines.tail(node, 5)


def test_a_release_adds_settings_and_java_options_of_its_own(toy: Toy) -> None:
    """They stand beside those of every node."""
    release = dataclasses.replace(toy.release(), settings={"licence": "trial"}, java_options=("-Xone", "-Xtwo"))
    node = engines.start_release(release, heap="96m", say=toy.said.append)
    assert "licence: trial" in (node.folder / "config" / "toy.yml").read_text().splitlines()
    assert "-XX:TieredStopAtLevel=1 -Xone -Xtwo" in engines.tail(node, 5)


def test_an_engine_that_signs_its_answers_is_known_by_it(toy: Toy) -> None:
    """With the header that the release names the node is ready."""
    release = dataclasses.replace(toy.release(), answers_with=("X-Toy", "Toy"))
    assert engines.start_release(release, say=toy.said.append).is_alive


def test_a_program_that_answers_in_another_name_is_not_taken_for_the_engine(toy: Toy) -> None:
    """Without the right header the wait goes on until its deadline."""
    release = dataclasses.replace(toy.release(), answers_with=("X-Toy", "Other"))
    with pytest.raises(EngineError, match=r"^toy did not answer within 0 s and was stopped"):
        engines.start_release(release, say=toy.said.append, ready_within_s=0.3)


@root_only
def test_root_starts_the_node_as_nobody(toy: Toy) -> None:
    """An engine refuses to run as root, so it runs as a user without rights, who owns the node's folder."""
    node = _up(toy)
    nobody = pwd.getpwnam("nobody").pw_uid
    assert Path(f"/proc/{node.identity.pid}").stat().st_uid == nobody
    assert (node.folder / "data" / f"written-by-{nobody}").exists()


@root_only
def test_a_folder_that_nobody_can_reach_is_named(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a folder that only root may enter there is one line with the folder and the variable, and no process."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path / "cache"))
    line = _failed(toy)
    assert line.startswith(
        f"the engine must not run as root, and user nobody can't reach {tmp_path}/cache/engines/default/data; name a"
    )
    assert "RESCORER_CACHE" in line
    assert engines.find("default") is None


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("ends", "java.lang.IllegalStateException: no luck today"),
        ("ends in silence", "it printed nothing"),
        ("speaks before it ends", "the last words"),
        ("starves", "x java.lang.OutOfMemoryError: Java heap space"),
    ],
)
def test_a_node_that_ends_at_its_start_gives_its_reason(toy: Toy, does: str, reason: str) -> None:
    """The telling line of its log, and the command that shows the rest."""
    assert _failed(toy, does) == f"toy ended at its start: {reason}; see: rescorer engine logs --name default"
    assert engines.health(engines.nodes()[0]) == "stopped"


def test_a_node_that_never_answers_is_stopped_after_the_deadline(toy: Toy) -> None:
    """No process is left behind, and the line says how long it was waited for."""
    line = _failed(toy, "never answers", ready_within_s=0.3)
    assert line == "toy did not answer within 0 s and was stopped; see: rescorer engine logs --name default"
    assert [node.is_alive for node in engines.nodes()] == [False]


def test_a_port_in_use_is_named_before_anything_is_downloaded(toy: Toy) -> None:
    """The line names the port and the way to a free one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert _failed(toy, port=port) == (
            f"port {port} is in use or not allowed; choose another, or --port 0 for a free one"
        )
    assert toy.maven_calls() == []


@pytest.mark.parametrize("heap", ["512", "m", "0m", "-1g", "1.5g", "512mb", "1g -Xint", ""])
def test_a_heap_that_java_would_not_take_is_refused(toy: Toy, heap: str) -> None:
    """A size is a whole number with m or g; the line shows one."""
    assert _failed(toy, heap=heap) == f"heap {heap!r} is no size; write it as Java does, such as 512m or 1g"
    assert toy.maven_calls() == []


@pytest.mark.parametrize("name", ["", "../up", "UP", "-x", "a b", "a/b"])
def test_a_name_that_is_no_folder_name_is_refused(toy: Toy, name: str) -> None:
    """Names become folders, so they are plain; nothing is written for another one."""
    assert _failed(toy, name=name) == (f"node name {name!r} is not usable; use lower-case letters, digits and hyphens")
    assert not (toy.folder / "cache").exists()


def test_a_cache_folder_that_cannot_be_written_is_one_line(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache below a file names the file that is in the way and the variable."""
    (toy.folder / "file").write_text("")
    monkeypatch.setenv("RESCORER_CACHE", str(toy.folder / "file" / "cache"))
    line = _failed(toy)
    assert line.startswith(f"{toy.folder}/file/cache: ")
    assert line.endswith("Not a directory; check the folder and its space, or name another with RESCORER_CACHE")


def test_what_is_written_about_a_node_is_read_back_whole(toy: Toy) -> None:
    """The state file gives the very node that was started."""
    node = _up(toy, name="kept", heap="32m")
    assert engines.find("kept") == node


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "{}", '{"folder": "x"}', '{"folder": "x", "identity": {"pid": 1}}']
)
def test_a_broken_state_file_is_no_node(toy: Toy, content: str) -> None:
    """Half a file, or one of another version, is as none, and a new node can be started over it."""
    _state().parent.mkdir(parents=True)
    _state().write_text(content)
    assert engines.find("default") is None
    assert engines.nodes() == []
    assert not engines.down(say=toy.said.append)


def test_a_node_that_was_never_started_is_none(toy: Toy) -> None:
    """Without a cache folder there is no node, and no error."""
    assert (engines.find("default"), engines.nodes(), engines.down(say=toy.said.append)) == (None, [], False)


def test_a_process_that_runs_without_answering_says_so(toy: Toy) -> None:
    """Health tells a node that is alive and silent from one that is stopped."""
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        node = _node(toy.folder, port=nobody_listens.getsockname()[1], pid=os.getpid())
        assert engines.health(node) == "no answer"


def test_the_tail_is_the_last_lines_of_the_log(toy: Toy) -> None:
    """As many as asked for, all if there are fewer, none without a log; broken bytes do no harm."""
    node = _node(toy.folder)
    assert engines.tail(node, 3) == ""
    node.log.parent.mkdir(parents=True)
    node.log.write_bytes(b"one\ntwo\nthr\xffee\n")
    assert engines.tail(node, 2) == "two\nthr\ufffdee"
    assert len(engines.tail(node, 99).splitlines()) == 3


def _node(folder: Path, port: int = 1, pid: int = 0) -> Node:
    began = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]) if pid else 0
    identity = Identity(pid=pid, began=began)
    return Node(name="n", engine="toy", version="1.0", port=port, heap="1m", folder=folder / "n", identity=identity)
