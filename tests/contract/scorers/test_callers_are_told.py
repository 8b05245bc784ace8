"""A client says who asks, so that a sidecar can share its time among callers."""

from __future__ import annotations

import pytest

from contract.scorers.fake_sidecar import FakeService
from rescorer.errors import InvalidSetting
from rescorer.opensearch import AsyncOpenSearch, OpenSearch
from rescorer.scorers.channels import said_by


def test_a_client_says_who_asks(address: str, service: FakeService) -> None:
    """The name of the application stands in each call, beside the metadata that were asked for."""
    client = OpenSearch(rescorer=address, rescorer_caller="shop", rescorer_metadata=(("x-team", "search"),))
    client.embed(["cat"])
    client.close()
    assert (service.metadata[0]["rescorer-caller"], service.metadata[0]["x-team"]) == ("shop", "search")


async def test_an_asynchronous_client_says_who_asks(address: str, service: FakeService) -> None:
    """The same through asyncio."""
    client = AsyncOpenSearch(rescorer=address, rescorer_caller="shop")
    await client.embed(["cat"])
    await client.close()
    assert service.metadata[0]["rescorer-caller"] == "shop"


def test_a_client_without_a_name_says_none(address: str, service: FakeService) -> None:
    """Nothing is made up: the sidecar takes the address."""
    client = OpenSearch(rescorer=address)
    client.embed(["cat"])
    client.close()
    assert "rescorer-caller" not in service.metadata[0]


ODD = {
    "spaces": " shop",
    "no ASCII": "shöp",
    "lines": "a\nb",
    "too long": "n" * 65,
    "no text": b"shop",
    "nothing": None,
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_a_name_that_the_wire_does_not_hold_is_refused(name: object) -> None:
    """It is refused when the client is made, with what a name may be, and not with each search."""
    with pytest.raises(InvalidSetting, match="rescorer_caller"):
        said_by(name)
