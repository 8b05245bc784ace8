"""``rescorer doctor`` on real nodes of both engines, with a real sidecar and real models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rescorer import templates
from rescorer_lab import cli
from unit.lab.small_stack import DOCUMENTS

pytestmark = pytest.mark.engine
INDEX = "rescorer-doctor-tests"
NOBODY = "127.0.0.1:1"


class Stack:
    """A node with the shipped templates and one index of a few embedded documents, and a sidecar."""

    def __init__(self, url: str, sidecar: str, capture: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self.sidecar = sidecar
        self._capture = capture

    def doctor(self, *words: str) -> tuple[int, list[str]]:
        """Exit code and lines; a ``--sidecar`` among the words wins."""
        code = cli.run(["doctor", "--engine-url", self.url, "--sidecar", self.sidecar, "--index", INDEX, *words])
        said = self._capture.readouterr()
        assert said.err == ""
        return code, [" ".join(line.split()) for line in said.out.splitlines()]


@pytest.fixture(params=["opensearch", "elasticsearch"])
def engine(request: pytest.FixtureRequest) -> str:
    """One of the two."""
    return str(request.param)


@pytest.fixture
def plain(engine: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client for plain JSON; the index and the templates are gone afterwards."""
    from opensearchpy import OpenSearch

    url = request.getfixturevalue(f"{engine}_url")
    with OpenSearch(hosts=[url]) as client:
        yield client
        ask = client.transport.perform_request
        ask("DELETE", f"/{INDEX}", params={"ignore": 404})
        for template in reversed(templates.shipped(engine)):  # type: ignore[arg-type]  # one of the two
            ask("DELETE", template.endpoint, params={"ignore": 404})


@pytest.fixture
def stack(
    engine: str, plain: Any, sidecar: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> Stack:
    """The whole of it, in order."""
    from rescorer.scorers.channels import Target
    from rescorer.scorers.grpc import GrpcScorer

    templates.apply(plain, templates.shipped(engine))  # type: ignore[arg-type]  # one of the two
    scorer = GrpcScorer(Target(address=sidecar))
    vectors = scorer.embed(_wish([document["body"] for document in DOCUMENTS]), 60.0)
    scorer.close()
    for place, (document, vector) in enumerate(zip(DOCUMENTS, vectors, strict=True)):
        body = {**document, "embedding": vector}
        plain.transport.perform_request("PUT", f"/{INDEX}/_doc/{place}", params={"refresh": "true"}, body=body)
    return Stack(request.getfixturevalue(f"{engine}_url"), sidecar, capsys)


def _wish(texts: list[str]) -> Any:
    from rescorer.domain import EmbedRequest

    return EmbedRequest(texts=texts, kind="document")


def test_a_healthy_stack_is_all_ticks(stack: Stack) -> None:
    """Both a search and a hybrid search come back rescored by the real model."""
    code, lines = stack.doctor()
    assert [line for line in lines if not line.startswith("✓")] == []
    assert lines[-2].startswith("✓ search reranked: ")
    assert lines[-1].startswith("✓ hybrid search reranked: 2 hits")
    assert code == 0


def test_a_stopped_sidecar_is_one_cross(stack: Stack) -> None:
    """The rest is looked at, and the search answers in first-stage order."""
    code, lines = stack.doctor("--sidecar", NOBODY)
    assert [line.split()[1] for line in lines if line.startswith("✗")] == ["sidecar"]
    assert lines[-1].startswith("– search answers in first-stage order, fallback (scorer_unavailable)")
    assert code == 1


def test_a_missing_template_is_one_cross_with_the_command_that_mends_it(stack: Stack, plain: Any) -> None:
    """The command is printed whole; run, it mends."""
    plain.transport.perform_request("DELETE", "/_index_template/rescorer")
    code, lines = stack.doctor()
    (cross,) = [line for line in lines if line.startswith("✗")]
    says, _, mend = cross.partition("; ")
    assert (code, says) == (1, "✗ templates missing: index template rescorer")
    assert cli.run(mend.split()[1:]) == 0
    assert stack.doctor()[1][-1].startswith("✓")


def test_a_lost_profile_is_told(stack: Stack, plain: Any) -> None:
    """An index whose mapping lost its profile is no cross, but its searches pass through."""
    plain.transport.perform_request("PUT", f"/{INDEX}/_mapping", body={"_meta": {}})
    code, lines = stack.doctor()
    assert code == 0
    assert lines[-1].startswith(f"– profile {INDEX} has none, so its searches pass through")
