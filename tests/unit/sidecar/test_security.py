"""Who is let in, before any socket: the rule of exposure, tokens and their file, files that are read again."""

from __future__ import annotations

import datetime
import hmac
from pathlib import Path
from typing import Any

import pytest
import trustme

from rescorer_sidecar import security, tokens
from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import ConfigError
from rescorer_sidecar.quotas import Quota
from rescorer_sidecar.watched import Watched

KEY = bytes(range(32))
WHOLE = f'key = "{KEY.hex()}"\n[[token]]\nname = "a"\nhash = "{"0" * 64}"\n'
EVERYWHERE = "0.0.0.0"  # noqa: S104  # refused below


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A tokens file with the shop's token ``t1`` and the operator's ``t2``."""
    path = tmp_path / "tokens.toml"
    shop = tokens.entry("shop", ("score",), "t1", KEY)
    path.write_text(f'key = "{KEY.hex()}"\n{shop}{tokens.entry("operator", ("score", "admin"), "t2", KEY)}')
    return path


def opened(said: list[str] | None = None, **settings: Any) -> security.Security:
    """Security for these settings."""
    return security.opened(Settings(model="m", **settings), (said if said is not None else []).append)


def test_loopback_asks_for_nothing() -> None:
    """On this machine the sidecar serves as it always did."""
    assert opened().proved("score", []) == ""


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.1", "scores.internal"])
def test_nobody_listens_to_others_without_asking_who_they_are(host: str) -> None:
    """The refusal names the setting and each way out; said aloud it is a warning."""
    with pytest.raises(ConfigError) as refused:
        opened(host=host)
    for way in (f"host {host}", "--tokens-file", "--tls-client-ca", "127.0.0.1", "--insecure"):
        assert way in str(refused.value)
    said: list[str] = []
    opened(said, host=host, insecure=True)
    assert said == [f"insecure: everybody who reaches {host} may ask this sidecar"]


def test_tls_alone_does_not_ask_who_somebody_is(tmp_path: Path) -> None:
    """A certificate of the sidecar's own keeps texts from being read on the way and lets everybody in all the same."""
    with pytest.raises(ConfigError, match="--tokens-file"):
        opened(host=EVERYWHERE, **pair(tmp_path))


def pair(folder: Path, **more: Any) -> dict[str, str]:
    """Settings with a certificate of its own authority."""
    made = trustme.CA().issue_cert("localhost", **more)
    files = {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}
    Path(files["tls_cert"]).write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(files["tls_key"])
    return files


def test_the_end_of_a_certificate_is_known(tmp_path: Path) -> None:
    """As a time for Prometheus, read again with the file; a sidecar without one tells none."""
    ends = datetime.datetime(2040, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    secured = opened(**pair(tmp_path, not_after=ends))
    (told,) = security.Expiry(secured).collect()
    assert [sample.value for sample in told.samples] == [ends.timestamp()]
    later = ends.replace(year=2041)
    pair(tmp_path, not_after=later)
    (told,) = security.Expiry(secured).collect()
    assert [sample.value for sample in told.samples] == [later.timestamp()]
    (told,) = security.Expiry(opened()).collect()
    assert (told.name, told.samples) == ("rescorer_certificate_expiry_timestamp_seconds", [])


def test_a_certificate_that_has_expired_is_told_at_the_start(tmp_path: Path) -> None:
    """The sidecar starts, so that a renewed file will do, and says so."""
    said: list[str] = []
    files = pair(tmp_path, not_after=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    opened(said, **files)
    assert said == [f"tls_cert {files['tls_cert']} has expired, and no client will trust it; renew the file"]
    said.clear()
    opened(said, **pair(tmp_path))
    assert said == []


def test_tokens_on_a_network_without_tls_are_a_warning(file: Path) -> None:
    """A mesh may speak TLS for the sidecar; whoever has none should know."""
    said: list[str] = []
    opened(said, host=EVERYWHERE, tokens_file=str(file))
    assert said == [f"tokens travel to {EVERYWHERE} in plain text; set --tls-cert, or let a proxy before it speak TLS"]


def test_insecure_opens_no_admin_door(file: Path) -> None:
    """Only tokens let the admin door listen to others."""
    settings = Settings(model="m", admin_host=EVERYWHERE, admin_port=1, insecure=True)
    with pytest.raises(ConfigError, match="everybody there could change the models"):
        security.check_admin(settings, security.OPEN)
    security.check_admin(settings, opened(tokens_file=str(file)))


def test_a_token_is_its_owners(file: Path) -> None:
    """Each token has its owner's name, and no other text has any."""
    known = tokens.read(str(file))
    assert [owner.name if owner else None for owner in map(known.owner, ("t1", "t2", "t", "t11", ""))] == [
        *("shop", "operator"),
        *(None, None, None),
    ]


def test_a_quota_is_the_callers_own_or_everybodys(file: Path) -> None:
    """The tokens file's table counts for its name, token or certificate; the settings for all others."""
    file.write_text(file.read_text() + "[quota.shop]\npairs_per_s = 7\n")
    secured = opened(tokens_file=str(file), quota_pairs_per_s=2.0, quota_tokens_per_s=3.0)
    assert secured.quota("shop") == Quota(pairs_per_s=7)
    assert secured.quota("operator") == Quota(pairs_per_s=2, tokens_per_s=3)
    assert opened().quota("anybody") == Quota()


def test_every_hash_is_compared_in_constant_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whosever the token is, as many hashes are compared, and all by the function that takes as long for each."""
    known, compared = tokens.read(str(file)), []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", counted)
    for token in ("t1", "t2", "t3"):
        known.owner(token)
    assert compared == [entry.digest for entry in known.entries] * 3


def test_the_file_holds_hashes_alone(file: Path) -> None:
    """Neither the file nor what is shown of it has a token, and the same token has another hash under another key."""
    made = tokens.made()
    assert made not in tokens.entry("shop", ("score",), made, KEY)
    assert tokens.hashed(made, KEY) != tokens.hashed(made, bytes(32))
    assert KEY.hex() not in repr(tokens.read(str(file)))
    assert len({tokens.made() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "key must be 64 hexadecimal digits"),
        ("key = 1", "key must be 64 hexadecimal digits"),
        (f'key = "{KEY.hex()}"', "holds no [[token]]; add one with: rescorer sidecar token"),
        (f'key = "{KEY.hex()}"\ntokens = 1', "tokens is no key here; known: key, token, quota"),
        (f'key = "{KEY.hex()}"\ntoken = [1]', "token 1 must be a [[token]]"),
        (f'key = "{KEY.hex()}"\n[[token]]\nname = "a b"', "token 1: name must be 1 to 64 letters"),
        (f'key = "{KEY.hex()}"\n[[token]]\nname = "a"\nhash = "secret"', "token 1 (a): hash must be 64 hex"),
        (f'key = "{KEY.hex()}"\n[[token]]\nname = "a"\ndoors = ["all"]', "token 1 (a): doors must be a list of score"),
        (f'key = "{KEY.hex()}"\n[[token]]\nname = "a"\ndoor = "score"', "token 1: door is no key here"),
        (f"quota = 1\n{WHOLE}", "quota must be tables, such as [quota.shop]"),
        (f"{WHOLE}[quota]\nshop = 1", "quota must be tables, such as [quota.shop]"),
        (f"{WHOLE}[quota.shop]\npairs = 1", "quota.shop: pairs is no key here; known: pairs_per_s, tokens_per_s"),
        (f"{WHOLE}[quota.shop]\npairs_per_s = 1{'0' * 400}", "quota.shop.pairs_per_s must be a number, 0 or more"),
        (f"key = {'9' * 5000}", "digits"),
        (f"{WHOLE}[quota.shop]\npairs_per_s = -1", "quota.shop.pairs_per_s must be a number, 0 or more"),
        (f"{WHOLE}[quota.shop]\ntokens_per_s = inf", "quota.shop.tokens_per_s must be a number, 0 or more"),
        (f"{WHOLE}[quota.shop]\ntokens_per_s = true", "quota.shop.tokens_per_s must be a number, 0 or more"),
        ("key = ", "Invalid value"),
    ],
)
def test_a_wrong_tokens_file_says_what_is_wrong(tmp_path: Path, text: str, wrong: str) -> None:
    """One line with the path, the entry and what would do, and no value that may be a secret."""
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        opened(tokens_file=str(path))
    assert wrong in str(refused.value)
    assert str(path) in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_tokens_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    """The error names the command."""
    with pytest.raises(ConfigError, match="No such file or directory; make it with: rescorer sidecar token NAME"):
        opened(tokens_file=str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is no text"):
        opened(tokens_file=str(tmp_path / "bytes.toml"))


@pytest.mark.parametrize(
    ("files", "wrong"),
    [
        ({"tls_cert": "c"}, "tls_key is empty; a door that speaks TLS needs tls_cert and tls_key"),
        ({"tls_key": "k"}, "tls_cert is empty"),
        ({"tls_client_ca": "ca"}, "tls_cert is empty"),
        ({"tls_cert": "none", "tls_key": "k"}, "tls_cert none: No such file or directory"),
        ({"tls_cert": "c", "tls_key": "other"}, "are no certificate and its key"),
        ({"tls_cert": "c", "tls_key": "locked"}, "the key has a password"),
        ({"tls_cert": "k", "tls_key": "c"}, "are no certificate and its key"),
        ({"tls_cert": "c", "tls_key": "k", "tls_client_ca": "k"}, "tls_client_ca k holds no certificate in PEM"),
        ({"tls_cert": "c", "tls_key": "k", "tls_client_ca": "none"}, "tls_client_ca none: No such file"),
    ],
)
def test_wrong_tls_files_say_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], wrong: str
) -> None:
    """A file that is missing, of another kind, of another pair or locked is one line that names the setting."""
    from cryptography.hazmat.primitives import serialization

    authority = trustme.CA()
    made, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "c"))
    made.private_key_pem.write_to_path(str(tmp_path / "k"))
    other.private_key_pem.write_to_path(str(tmp_path / "other"))
    key = serialization.load_pem_private_key(made.private_key_pem.bytes(), None)
    locked = serialization.BestAvailableEncryption(b"word")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "locked").write_bytes(key.private_bytes(pem, pkcs8, locked))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        opened(**files)
    assert wrong in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_breaks_leaves_what_was_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, not at every knock, and the next good one is taken."""
    path = tmp_path / "value"
    path.write_text("1")

    def read() -> int:
        try:
            return int(path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError("value: must be a number") from error

    watched = Watched([str(path)], read)
    path.write_text("rubbish")
    assert [watched.current(), watched.current()] == [1, 1]
    assert [record.message for record in caplog.records] == [
        "value: must be a number; what was read before stays in force"
    ]
    path.unlink()
    assert watched.current() == 1
    path.write_text("22")
    assert watched.current() == 22
