"""A client's credentials: what fits together, what the environment says, what is never shown."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import trustme

from rescorer.credentials import VARIABLES, Credentials, from_environment
from rescorer.errors import InvalidCredentials, InvalidSetting
from rescorer.scorers import secure
from rescorer.scorers.channels import Target
from unit.client import fake_clients
from unit.client.fake_clients import KINDS
from unit.client.fake_engine import FakeEngine

TOKEN = "rescorer_Xq7-unlikely"


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"certificate": "c", "roots": "r"}, "certificate: stands without key"),
        ({"key": "k", "roots": "r"}, "key: stands without certificate"),
        ({"certificate": "c", "key": "k"}, "certificate: needs roots"),
        ({"server_name": "s"}, "server_name: needs roots"),
        ({"token": TOKEN, "token_file": "f"}, "token_file: stands beside token"),
        ({"token": f"{TOKEN}\n"}, "token: must be printable ASCII"),
    ],
)
def test_parts_that_do_not_fit_are_refused(given: dict[str, Any], wrong: str) -> None:
    """The error names the field and what it lacks, and never the token."""
    with pytest.raises(InvalidCredentials, match=f"^rescorer_credentials.{wrong}") as refused:
        Credentials(**given)
    assert isinstance(refused.value, InvalidSetting)
    assert TOKEN not in str(refused.value) + repr(refused.value)


def test_each_field_has_its_variable() -> None:
    """What can be given can be set, an empty variable is none, and nothing is said where nothing is set."""
    values = {name: "x" for name in VARIABLES if name != "token"} | {"insecure": "TRUE"}
    found = from_environment({VARIABLES[name]: value for name, value in values.items()} | {"RESCORER_TOKEN": ""})
    assert found == Credentials(**{**values, "insecure": True})
    assert from_environment({"PATH": "/bin", "RESCORER_TEST_OPENSEARCH": "x", "RESCORER_INSECURE": "true"}) is None


@pytest.mark.parametrize(
    ("environment", "wrong"),
    [
        ({"RESCORER_TLS_CERT": "secret"}, "RESCORER_TLS_CERT: is no setting; known: RESCORER_TLS_ROOTS"),
        ({"RESCORER_INSECURE": "1", "RESCORER_TOKEN": TOKEN}, "RESCORER_INSECURE: must be true or false"),
    ],
)
def test_a_wrong_variable_is_named(environment: dict[str, str], wrong: str) -> None:
    """A misspelt variable is an error and not plain text."""
    with pytest.raises(InvalidCredentials) as refused:
        from_environment(environment)
    assert str(refused.value).startswith(wrong)
    assert "secret" not in str(refused.value)


def test_a_token_does_not_leave_this_machine_in_plain_text(tmp_path: Path) -> None:
    """Not without TLS, not in a list, unless ``insecure`` says so; on loopback and over TLS it travels."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    for given in (Credentials(token=TOKEN), Credentials(token_file=str(tmp_path / "token"))):
        with pytest.raises(InvalidCredentials, match="would travel to scores:50051 in plain text") as refused:
            secure.targets(["localhost:50051", "scores:50051"], given)
        assert TOKEN not in str(refused.value)
        (target,) = secure.targets("localhost:50051", given)
        assert target.headers == (("authorization", f"Bearer {TOKEN}"),)
    assert secure.targets("scores:50051", Credentials(token=TOKEN, insecure=True))
    (target,) = secure.targets("scores:50051", Credentials(token=TOKEN, roots="system"))
    assert target.credentials is not None


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("localhost:1", True),
        ("127.0.0.9:1", True),
        ("[::1]:1", True),
        ("unix:/run/x.sock", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("ipv6:[2001:db8::1]:1", False),
        ("dns://10.0.0.1/scores:1", False),
        ("localhost.example:1", False),
        ("scores:1", False),
    ],
)
def test_what_stays_on_this_machine_is_known(address: str, is_here: bool) -> None:
    """Loopback and sockets stay; a name other than localhost may lead anywhere."""
    assert Target(address=address).is_here is is_here


def test_a_token_of_the_application_itself_is_not_doubled() -> None:
    """Where the metadata show one already, no second one is added, which a sidecar would refuse."""
    own = (("authorization", "Bearer own"),)
    (target,) = secure.targets("localhost:1", Credentials(token=TOKEN), own)
    assert target.headers == own


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The next call shows the new token; where the file can't be used, the token before, and the log says so once."""
    path = tmp_path / "token"
    path.write_text("first")
    (target,) = secure.targets("localhost:1", Credentials(token_file=str(path)))
    assert target.headers == (("authorization", "Bearer first"),)
    path.write_text("second-one")
    assert target.headers == (("authorization", "Bearer second-one"),)
    path.unlink()
    assert [target.headers for _ in range(2)] == [(("authorization", "Bearer second-one"),)] * 2
    (said,) = [record.getMessage() for record in caplog.records]
    assert "No such file or directory; what was read before stays in use" in said
    assert "second-one" not in said + repr(target)


def test_clients_with_the_same_files_share_their_channel(tmp_path: Path) -> None:
    """The same contents make the same credentials, other contents others: a renewed file is not an old connection."""
    roots = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(roots))
    first = secure.spoken(Credentials(roots=str(roots)))
    assert secure.spoken(Credentials(roots=str(roots))) is first
    trustme.CA().cert_pem.write_to_path(str(roots))
    assert secure.spoken(Credentials(roots=str(roots))) is not first


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"roots": "nowhere.pem"}, "roots: nowhere.pem: No such file"),
        ({"token_file": "nowhere"}, "token_file: nowhere: No such file"),
        ({"token_file": "{folder}/two"}, "two must hold one token and nothing else"),
    ],
)
def test_a_file_that_can_not_be_used_is_named(tmp_path: Path, given: dict[str, str], wrong: str) -> None:
    """The error stands where the client is made, not in its first search."""
    (tmp_path / "two").write_text(f"{TOKEN} {TOKEN}")
    filled = {name: value.format(folder=tmp_path) for name, value in given.items()}
    with pytest.raises(InvalidCredentials) as refused:
        secure.targets("localhost:1", Credentials(**filled))
    assert wrong in str(refused.value)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_no_client_shows_its_token(kind: str) -> None:
    """Neither itself, its wiring, its state nor its targets; a copy and a pickle keep it."""
    client = fake_clients.made(
        kind, FakeEngine(), "localhost:1", rescorer_credentials=Credentials(token=TOKEN, server_name="", insecure=True)
    )
    wiring = client._wiring
    shown = [client, wiring, wiring.again, wiring.again.func, client.rescorer.state(), wiring.own._fleet]
    assert TOKEN not in " ".join(map(repr, shown))
    assert pickle.loads(pickle.dumps(wiring)).again.func.__self__.credentials.token == TOKEN  # noqa: S301  # our own
    assert copy.deepcopy(wiring).again.func.__self__.credentials.token == TOKEN
