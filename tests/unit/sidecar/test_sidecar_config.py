"""Settings: which source wins, what is refused and how it says so, and that page, help and file know every one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import rescorer
from rescorer_sidecar import config
from rescorer_sidecar.config import Settings, from_command_line
from rescorer_sidecar.errors import ConfigError, MissingExtra, SidecarError, short
from shape.source import ROOT

NAMES = [entry.name for entry in dataclasses.fields(Settings)]
EXAMPLE = ROOT / "deploy" / "sidecar.example.toml"
PAGE = ROOT / "docs" / "sidecar.md"


def read(
    arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None, *, file: Path | None = None
) -> Settings:
    """Settings with a model named, so that only what a test is about can be wrong."""
    named = ["--model", "some/model", *(["--config", str(file)] if file else [])]
    return from_command_line([*named, *arguments], environment or {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that sets port 3 and budget_tokens 3."""
    path = tmp_path / "sidecar.toml"
    path.write_text('port = 3\nbudget_tokens = 3\nhost = "0.0.0.0"\ndrain_s = 2\n')
    return path


def test_a_flag_wins_over_the_environment_and_this_over_the_file_and_this_over_the_default(file: Path) -> None:
    """One setting from each of the four sources, each overridden by the next stronger one."""
    settings = read(
        ["--port", "1"],
        {"RESCORER_SIDECAR_PORT": "2", "RESCORER_SIDECAR_BUDGET_TOKENS": "2", "PATH": "/bin"},
        file=file,
    )
    assert (settings.port, settings.budget_tokens, settings.host) == (1, 2, "0.0.0.0")  # noqa: S104  # a value, not bound
    assert settings.cache_mb == Settings().cache_mb


def test_the_file_can_be_named_by_the_environment(file: Path) -> None:
    """RESCORER_SIDECAR_CONFIG names the file; a flag that names another wins."""
    assert read([], {"RESCORER_SIDECAR_CONFIG": str(file)}).port == 3
    other = file.with_name("other.toml")
    other.write_text("port = 4")
    assert read([], {"RESCORER_SIDECAR_CONFIG": str(file)}, file=other).port == 4


def test_a_model_from_any_source_will_do(tmp_path: Path) -> None:
    """The model may come from the file or the environment, and an embedder alone is enough."""
    path = tmp_path / "sidecar.toml"
    path.write_text('model = "from/file"')
    assert from_command_line(["--config", str(path)], {}).model == "from/file"
    assert from_command_line([], {"RESCORER_SIDECAR_MODEL": "from/env"}).model == "from/env"
    assert from_command_line(["--embedder", "e"], {}).embedder == "e"


def test_without_any_model_the_error_names_both_flags() -> None:
    """Nothing to serve is an error that says what to give."""
    with pytest.raises(ConfigError, match=r"give --model \(cross-encoder\) or --embedder"):
        from_command_line([], {})


@pytest.mark.parametrize("name", NAMES)
def test_each_setting_can_come_from_a_flag_the_environment_and_a_file(name: str, tmp_path: Path) -> None:
    """No setting is reachable from one source only, and each keeps its type from all three."""
    entry = config.KNOWN[name]
    words = entry.metadata["words"] or ("seven",)
    values: dict[str, object] = {"int": 7, "float": 7.5, "str": words[-1], "bool": not entry.default}
    value = values[str(entry.type)]
    path = tmp_path / "sidecar.toml"
    path.write_text(f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {str(value).lower()}")
    named = ["--embedder", "some/model"] if name != "embedder" else ["--model", "some/model"]
    found = [
        from_command_line([*named, "--" + name.replace("_", "-"), str(value)], {}),
        from_command_line(named, {"RESCORER_SIDECAR_" + name.upper(): str(value)}),
        from_command_line([*named, "--config", str(path)], {}),
    ]
    assert [getattr(settings, name) for settings in found] == [value] * 3
    assert {type(getattr(settings, name)) for settings in found} == {type(value)}


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--prot", "1"], {}, "command line: prot is no setting; did you mean port?"),
        (["--max-token=1"], {}, "command line: max_token is no setting; did you mean max_tokens?"),
        (["--zzz"], {}, "command line: zzz is no setting; known: host, port, model"),
        (["stray"], {}, "command line: argument 3 is no --name=value of ours; see --help"),
        (["--port", "1", "-"], {}, "command line: argument 5 is no --name=value of ours; see --help"),
        (["--port"], {}, "argument --port: expected one argument; see --help"),
        ([], {"RESCORER_SIDECAR_CACHE": "1"}, "RESCORER_SIDECAR_CACHE: cache is no setting; did you mean cache_mb?"),
        (["--port", "many"], {}, "--port: 'many' must be a whole number"),
        (["--port", "1.5"], {}, "--port: '1.5' must be a whole number"),
        (["--port", "-1"], {}, "--port: '-1' must be 0 or more"),
        (["--port", "65536"], {}, "--port: '65536' is no port; ports end at 65535"),
        (["--max-message-mb", "2048"], {}, "--max-message-mb: '2048' must be 2047 or less, which is gRPC's own limit"),
        (["--drain-s", "nan"], {}, "--drain-s: 'nan' must be a number"),
        (["--drain-s", "inf"], {}, "--drain-s: 'inf' must be a number"),
        (["--drain-s", "-0.1"], {}, "--drain-s: '-0.1' must be 0 or more"),
        (["--budget-tokens", "-1"], {}, "--budget-tokens: '-1' must be 0 or more"),
        (["--insecure", "maybe"], {}, "--insecure: 'maybe' must be true or false"),
        ([], {"RESCORER_SIDECAR_REFLECTION": "0"}, "RESCORER_SIDECAR_REFLECTION: '0' must be true or false"),
        (["--backend", "tensorflow"], {}, "--backend: 'tensorflow' must be one of auto, native, onnx, torch"),
        ([], {"RESCORER_SIDECAR_PORT": ""}, "RESCORER_SIDECAR_PORT: '' must be a whole number"),
        ([], {"RESCORER_SIDECAR_WORKERS": "false"}, "RESCORER_SIDECAR_WORKERS: 'false' must be a whole number"),
    ],
)
def test_what_is_wrong_is_named_with_its_source_and_its_mend(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    """A bad flag or variable is one line: where it stands, what it holds, what would do."""
    with pytest.raises(ConfigError) as refused:
        read(arguments, environment)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("before", ["", "shared-cache=", "-shared_cache ", "--shared-cache-secre="])
def test_an_argument_that_may_be_a_secret_is_not_repeated(before: str) -> None:
    """Where dashes or a name are forgotten, the error tells the place or the nearest name, and no password."""
    with pytest.raises(ConfigError, match="command line: ") as refused:
        read([*f"{before}redis://shop:pa55word@cache:6379/0".split(" ")])
    assert "pa55word" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prt = 1", "prt is no setting; did you mean port?"),
        ("[server]\nport = 1", "server is no setting"),
        (f"drain_s = 1{'0' * 400}", "must be a number"),
        (f"port = {'9' * 5000}", "digits"),
        (f"port = {'[' * 5000}", ""),
        ("port = true", "port: True must be a whole number"),
        ("drain_s = false", "drain_s: False must be a number"),
        ("port = 1.0", "port: 1.0 must be a whole number"),
        ("host = 1", "host: 1 must be text"),
        ("model = [1]", "model: 1 must be text"),
        ("host = ['a']", "host: ['a'] must be text"),
        ("port = [1]", "port: [1] must be a whole number"),
        ("port = ", "Invalid value"),
        ("port = 70000", "port: 70000 is no port"),
        ("pooling = 'max'", "pooling: 'max' must be one of auto, cls, mean"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    """A bad key or value in the file is one line with the file's path; a TOML boolean is no number."""
    path = tmp_path / "sidecar.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read(file=path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path that leads nowhere, to a folder or to bytes that are no text is one line with that path."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file"):
        read(file=tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path))):
        read(file=tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml"):
        read(file=tmp_path / "binary.toml")


def test_a_switch_needs_no_value_and_false_is_false() -> None:
    """--insecure alone says yes; "false" is false wherever it stands."""
    assert read(["--insecure", "--port", "7"]).insecure is True
    assert read(["--insecure", "false"], {"RESCORER_SIDECAR_INSECURE": "true"}).insecure is False
    assert read([], {"RESCORER_SIDECAR_REFLECTION": "False"}).reflection is False


def test_flags_are_not_guessed_from_their_beginnings() -> None:
    """--mod is not --model: an abbreviation that works today would change its meaning with the next setting."""
    with pytest.raises(ConfigError, match=r"mod is no setting; did you mean model\?"):
        from_command_line(["--mod", "x"], {})


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """--help names each flag with its explanation, default and variable, and exits 0."""
    with pytest.raises(SystemExit) as ended:
        from_command_line(["--help"], {})
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for name, entry in config.KNOWN.items():
        assert "--" + name.replace("_", "-") in said
        assert entry.metadata["explained"] in said
        assert f"(RESCORER_SIDECAR_{name.upper()})" in said
        assert entry.default == "" or f"default {config.shown_default(name)}" in said


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """--version says which release runs, and exits 0."""
    with pytest.raises(SystemExit) as ended:
        from_command_line(["--version"], {})
    assert (ended.value.code, capsys.readouterr().out) == (0, f"rescorer-sidecar {rescorer.__version__}\n")


def test_the_shown_values_are_the_effective_ones() -> None:
    """The line that is printed at the start holds every setting once, with the value in force."""
    line = config.shown(read(["--port", "7"]))
    assert re.findall(r"(\w+)=", line) == NAMES
    assert "port=7 " in line
    assert "model='some/model'" in line


def test_settings_cannot_be_changed() -> None:
    """The settings of a process are frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]  # that is the claim


def test_the_example_file_holds_every_setting_with_its_default() -> None:
    """deploy/sidecar.example.toml parses, and differs from the defaults in the models alone."""
    settings = from_command_line(["--config", str(EXAMPLE)], {})
    assert settings.model
    assert dataclasses.replace(settings, model="", embedder="") == Settings()
    written = re.findall(r"^# ?(\w+) = |^(\w+) = ", EXAMPLE.read_text(), re.MULTILINE)
    assert {commented or active for commented, active in written} == set(NAMES)


def test_the_commented_lines_of_the_example_are_the_defaults(tmp_path: Path) -> None:
    """Whoever takes the comment sign away changes nothing yet."""
    path = tmp_path / "uncommented.toml"
    path.write_text(re.sub(r"^# ?(\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE))
    settings = from_command_line(["--config", str(path)], {})
    assert dataclasses.replace(settings, model="", embedder="") == Settings()


def test_the_page_lists_every_setting_with_its_default_and_explanation() -> None:
    """docs/sidecar.md has one row for each setting, as the dataclass has it, and no row for anything else."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    listed = {name: (default, explained) for name, default, explained in rows if name in NAMES or name.islower()}
    defaults = {name: f"`{config.shown_default(name)}`" for name, entry in config.KNOWN.items() if entry.default != ""}
    expected = {
        name: (defaults.get(name, ""), entry.metadata["explained"].replace("|", r"\|"))
        for name, entry in config.KNOWN.items()
    }
    assert listed == expected


def test_every_error_has_one_root() -> None:
    """A missing extra is a wrong setup, and that is an error of this package; it says what to install."""
    error = MissingExtra("torch", "sidecar")
    assert isinstance(error, ConfigError)
    assert isinstance(error, SidecarError)
    assert str(error) == "torch is not installed; run: pip install 'rescorer[sidecar]'"


@pytest.mark.parametrize(("length", "shown"), [(0, ""), (100, "x" * 100), (101, "x" * 100 + "… (101 characters)")])
def test_a_callers_word_is_cut_for_an_error(length: int, shown: str) -> None:
    """Up to a hundred characters are repeated as they are, the rest is counted."""
    assert short("x" * length) == shown
