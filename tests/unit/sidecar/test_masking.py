"""Secrets stay out of what is shown: settings, errors and addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar import config, masking
from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import ConfigError
from rescorer_sidecar.shared_links import checked


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("", ""),
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://:s3cret@cache:6379/0", "redis://:***@cache:6379/0"),
        ("rediss://ann:s3cret@[::1]:6379", "rediss://ann:***@[::1]:6379"),
        ("redis://:s3c@ret@cache", "redis://:***@cache"),
        ("unix://:s3cret@/run/cache.sock?db=1", "unix://:***@/run/cache.sock?***"),
        ("redis://cache?password=s3cret", "redis://cache?***"),
        ("s3cret", "***"),
        ("s3cret@cache", "***"),
        ("redis://:a/s3cret?x#y@cache/0", "redis://:***@cache/0"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, told: str) -> None:
    """User, host and path are told; the password, and a query that may hold one, are not."""
    assert masking.url(address) == told


@given(user=st.text("abc", max_size=3), secret=st.text(st.characters(codec="ascii"), min_size=4, max_size=12))
def test_no_password_is_ever_shown(user: str, secret: str) -> None:
    """Whatever stands between colon and @, an address tells nothing of it."""
    secret = f"Q7{secret}7Q"
    assert "Q7" not in masking.url(f"redis://{user}:{secret}@h")


def test_settings_are_shown_without_secrets() -> None:
    """The line of effective values holds neither the password nor the secret."""
    line = config.shown(Settings(shared_cache="redis://:s3cret@cache", shared_cache_secret="s3cret"))
    assert "s3cret" not in line
    assert "shared_cache='redis://:***@cache'" in line
    assert "shared_cache_secret='***'" in line


@pytest.mark.parametrize("name", sorted(masking.MASKS))
def test_a_secret_of_the_wrong_kind_is_not_repeated(name: str, tmp_path: Path) -> None:
    """A list where text must stand is refused without a word of it."""
    file = tmp_path / "sidecar.toml"
    file.write_text(f'model = "m"\n{name} = ["redis://:s3cret@cache"]')
    with pytest.raises(ConfigError, match=f"{name}: must be text") as refused:
        config.from_command_line(["--config", str(file)], {})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "wrong"),
    [
        ("cache:6379", "is no address"),
        ("http://:s3cret@cache", "is no address"),
        ("redis://:s3cret@", "is no address"),
        ("redis://:s3cret@cache:many", "is no address"),
        ("redis://:s3cret@cache:0", "is no address"),
        ("unix://:s3cret@", "is no address"),
        ("redis://:s3cret@[cache", "is no address"),
        ("redis://:s3cret@cache/first", "the database must be a whole number"),
        ("redis://cache?password=s3cret", "an option is not known; known here: db"),
        ("redis://cache?s3cret=1", "an option is not known; known here: db"),
        ("redis://cache?s3cret", "is no address"),
        ("redis://cache?ssl_ca_certs=/nowhere", "an option is not known; known here: db"),
        ("rediss://cache?ssl_ca_certs=/nowhere", "ssl_ca_certs=/nowhere: no such file"),
    ],
)
def test_an_address_that_is_none_is_an_error_that_keeps_the_secret(address: str, wrong: str) -> None:
    """What is wrong is told, and the password is not."""
    with pytest.raises(ConfigError, match="shared_cache: ") as refused:
        checked(address)
    assert wrong in str(refused.value)
    assert "s3cret" not in str(refused.value)
