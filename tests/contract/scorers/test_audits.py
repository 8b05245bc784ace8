"""What a gate leaves alone is scored afterwards over the wire, by both kinds of client."""

from __future__ import annotations

import pytest

from rescorer.errors import Reason
from unit.client import fake_clients
from unit.client.fake_clients import KINDS, plain, settled
from unit.client.fake_engine import FakeEngine
from unit.client.test_audit import ALWAYS, ASKED, Heard


@pytest.mark.parametrize("kind", KINDS)
async def test_an_audit_is_scored_by_a_sidecar(address: str, kind: str) -> None:
    """The search is answered in first-stage order, and what the sidecar says comes as the audit."""
    heard = Heard()
    client = fake_clients.made(kind, FakeEngine(profile=ALWAYS), address, rescorer_telemetry=heard)
    answer = plain(await settled(client.search(index="articles", body={**ASKED, "size": 3})))
    assert answer["rescore"]["reason"] == "gate_one_word"
    found = await heard.one()
    assert (found.reason, found.failed, found.depth) == (Reason.GATE_ONE_WORD, None, 3)
    await settled(client.close())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_may_be_closed_in_the_middle_of_an_audit(address: str, kind: str) -> None:
    """Nothing hangs and nothing is raised, wherever the audit is at that moment."""
    client = fake_clients.made(kind, FakeEngine(profile=ALWAYS), address)
    for _ in range(3):
        await settled(client.search(index="articles", body=ASKED))
    await settled(client.close())
    assert client.rescore_counts() == {"skipped:gate_one_word": 3}
