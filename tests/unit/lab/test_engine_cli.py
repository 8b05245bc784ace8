"""``rescorer engine`` as its user reads it: plain lines, one line per error, exit codes."""

from __future__ import annotations

import socket

import pytest

from rescorer_lab import cli, engines
from rescorer_lab.engines import releases
from unit.lab.toy_engine import Toy


def _says(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = cli.run(["engine", *words])
    shown = capsys.readouterr()
    return code, (shown.err if code else shown.out)


def test_status_shows_the_whole_address_however_narrow_the_terminal(
    toy: Toy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name, release, health, address, process and folder are never cut, nor when piped."""
    monkeypatch.setenv("COLUMNS", "20")
    node = engines.start_release(toy.release(), name="a-name-that-is-rather-long", say=toy.said.append)
    assert _says(capsys, "status") == (
        0,
        f"{node.name}: toy 1.0, green, {node.url}, process {node.identity.pid}\n  {node.folder}\n",
    )
    engines.down(node.name, say=toy.said.append)
    assert _says(capsys, "status") == (0, f"{node.name}: toy 1.0, stopped, {node.url}, no process\n  {node.folder}\n")


def test_status_without_a_node_says_how_to_start_one(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list is a sentence with a command."""
    assert _says(capsys, "status") == (0, "no node was started here yet; start one: rescorer engine up opensearch\n")


def test_logs_are_the_last_lines_of_the_node(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """``--lines`` counts from the end, and square brackets stay as they are."""
    node = engines.start_release(toy.release(), say=toy.said.append)
    with node.log.open("a") as log:
        log.write("[INFO ][red] one\n[ERROR] two\n")
    assert _says(capsys, "logs", "--lines", "2") == (0, "[INFO ][red] one\n[ERROR] two\n")


def test_logs_of_an_unknown_node_are_one_line(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """The line says how to list the nodes that there are."""
    expected = "error no node other was started here; list them: rescorer engine status\n"
    assert _says(capsys, "logs", "--name", "other") == (2, expected)


def test_down_stops_a_node_and_says_when_there_is_none(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """Both are a line and no failure, so that a script may call it twice."""
    node = engines.start_release(toy.release(), say=toy.said.append)
    code, said = _says(capsys, "down")
    assert code == 0
    assert said.startswith("toy 1.0 (node default) has stopped after ")
    assert not node.is_alive
    assert _says(capsys, "down") == (0, "node default does not run\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("up", "solr"), "engine 'solr' is not known; known: opensearch, elasticsearch"),
        (("up", "--version", "1.0"), "opensearch 1.0 can't be assembled here; known versions: 3.6.0, 2.19.6"),
        (("up", "--heap", "much"), "heap 'much' is no size; write it as Java does, such as 512m or 1g"),
        (("down", "--name", "A/B"), "node name 'A/B' is not usable; use lower-case letters, digits and hyphens"),
    ],
)
def test_a_wrong_word_is_one_line_and_exit_code_two(
    toy: Toy, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], line: str
) -> None:
    """The line names what is wrong and what would be right, and nothing is downloaded."""
    assert _says(capsys, *words) == (2, f"error {line}\n")
    assert not (toy.folder / "cache").exists()


def test_a_port_in_use_is_one_line_that_offers_a_free_one(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the port and ``--port 0``."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = f"error port {port} is in use or not allowed; choose another, or --port 0 for a free one\n"
        assert _says(capsys, "up", "--port", str(port)) == (2, expected)


@pytest.mark.parametrize("words", [("up", "--port", "65536"), ("up", "--port", "x"), ("logs", "--lines", "0")])
def test_a_number_out_of_range_is_wrong_usage(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    """One line that names the option, and exit code 2."""
    code, said = _says(capsys, *words)
    assert code == 2
    assert said.startswith(f"error Invalid value for '{words[1]}': ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [(("upp",), "error No such command 'upp'"), (("up", "--heep", "1g"), "error No such option: --heep")],
)
def test_a_typing_error_is_one_line(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], line: str) -> None:
    """A command or option that does not exist is named, without a traceback, and ``--help`` is pointed at."""
    code, said = _says(capsys, *words)
    assert code == 2
    assert said.startswith(line)
    assert said.endswith("see: rescorer --help\n")
    assert said.count("\n") == 1


def test_the_group_names_both_engines_with_an_example_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Who reads only the first help sees how to start either."""
    code, said = _says(capsys, "--help")
    assert code == 0
    plain = " ".join(said.split())
    assert "rescorer engine up opensearch" in plain
    assert "rescorer engine up elasticsearch --port 9201 --name es" in plain


def test_up_names_every_version_that_can_be_assembled(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of ``--version`` is the list of releases."""
    _, said = _says(capsys, "up", "--help")
    words = said.replace("│", " ").split()
    assert {release.version for release in releases.RELEASES} <= {word.rstrip(",.") for word in words}


@pytest.mark.parametrize("command", ["up", "down", "status", "logs"])
def test_each_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` ends with a line that can be typed."""
    code, said = _says(capsys, command, "--help")
    assert code == 0
    assert f"Example: rescorer engine {command}" in said
