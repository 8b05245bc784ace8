"""Models by name: what is known, what is fetched, what an unknown name is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescorer_lab import models
from rescorer_lab.errors import LabError
from unit.lab.quantised import save_quantised


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path))
    return tmp_path


def test_each_release_names_licence_and_checksums_or_what_it_is_made_from() -> None:
    """No release comes without a licence, and none without a way to check it."""
    for release in models.RELEASES:
        assert release.licence
        assert release.made_from or {len(digest) for digest in release.checks.values()} == {64}
        assert bool(release.folder) != bool(release.made_from)


def test_a_name_with_a_typing_error_is_told_the_nearest_one() -> None:
    """The message of an unknown name holds the model that was probably meant."""
    with pytest.raises(LabError, match=r"did you mean bge-small-en-v1\.5-int8"):
        models.fetch("bge-small-en-v15-int8")


def test_a_name_like_no_other_is_told_all_of_them() -> None:
    """Where nothing is near, every known name is listed."""
    with pytest.raises(LabError) as caught:
        models.release("x")
    assert all(release.name in str(caught.value) for release in models.RELEASES)


@pytest.mark.parametrize("name", [release.name for release in models.RELEASES])
def test_a_model_that_is_there_is_not_fetched_again(name: str) -> None:
    """A complete folder is returned at once, and nothing is said or downloaded."""
    said: list[str] = []
    models.folder(name).mkdir(parents=True)
    assert models.fetch(name, said.append) == models.folder(name)
    assert said == []


def test_the_recovered_model_is_made_from_the_int8_one_on_disk() -> None:
    """With the INT8 folder in the cache, recovery needs no network and tells name and licence."""
    said: list[str] = []
    save_quantised(models.folder(models.CROSS_ENCODER))
    folder = models.fetch(models.RECOVERED, said.append)
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert "recovered from the INT8 release" in said[-1]
    assert "Apache-2.0" in said[-1]
