"""What only OpenSearch's shipped files hold: search pipelines, and Lucene's vectors. The rest is held on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.shipped_templates import Renamed, on_node
from rescorer import profile
from rescorer_lab import cli

pytestmark = pytest.mark.slow


@pytest.fixture
def renamed(opensearch_url: str, tmp_path: Path) -> Iterator[Renamed]:
    """The files under names of this test, which are gone from the node afterwards."""
    with on_node(opensearch_url, "opensearch", tmp_path) as made:
        yield made


def test_a_new_index_gets_lucene_vectors_and_the_pipeline(renamed: Renamed) -> None:
    """The vector field needs no native library, and the profile names a pipeline of the files."""
    renamed.make_index()
    mappings = renamed.mappings()
    assert mappings["properties"]["embedding"]["method"]["engine"] == "lucene"
    settings = renamed.client.indices.get_settings(index=renamed.index)[renamed.index]["settings"]["index"]
    assert settings["knn"] == "true"
    form = profile.read(mappings["_meta"]["rescorer"]).hybrid
    assert form is not None
    assert (form.fusion, form.search_pipeline) == ("engine", renamed.named("rescorer-normalization"))


@pytest.mark.parametrize("pipeline", ["rescorer-normalization", "rescorer-rrf"])
def test_both_pipelines_fuse_a_hybrid_query(renamed: Renamed, pipeline: str) -> None:
    """BM25 and kNN agree about one document, which comes first with a fused score; no delimiter score is left."""
    renamed.make_index()
    words = {"multi_match": {"query": "cancel flight", "fields": ["title", "body"]}}
    near = {"knn": {"embedding": {"vector": [1.0] + [0.0] * 383, "k": 100}}}
    body = {"query": {"hybrid": {"queries": [words, near]}}, "size": 3}
    answer = renamed.client.search(index=renamed.index, body=body, search_pipeline=renamed.named(pipeline))
    hits = answer["hits"]["hits"]
    assert hits[0]["_id"] == "0"
    assert len({hit["_id"] for hit in hits}) == len(hits) == 3
    assert all(0.0 <= hit["_score"] <= 1.0 for hit in hits)


def test_weights_that_do_not_add_up_are_refused_by_name(
    opensearch_url: str, renamed: Renamed, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine's refusal of a pipeline is one line with the file and its reason."""
    path = renamed.path("rescorer-normalization")
    path.write_text(path.read_text().replace("[0.5, 0.5]", "[0.5, 0.4]"))
    assert cli.run(["templates", "apply", "--url", opensearch_url, "--folder", str(renamed.folder)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"refuses search_pipelines/{path.name}: 400 sum of weights" in said


def test_the_other_engines_files_are_refused_by_name(
    opensearch_url: str, renamed: Renamed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Elasticsearch's vector type is unknown here, and the line names the file that holds it."""
    path = renamed.path("rescorer-vector")
    path.write_text(path.read_text().replace("knn_vector", "dense_vector"))
    assert cli.run(["templates", "apply", "--url", opensearch_url, "--folder", str(renamed.folder)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"refuses component_templates/{path.name}: 400 " in said
