"""What only Elasticsearch's shipped files hold: dense vectors, and fusion in the client. The rest is held on both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.shipped_templates import Renamed, on_node
from rescorer import profile, templates
from rescorer_lab import cli

pytestmark = pytest.mark.slow


@pytest.fixture
def renamed(elasticsearch_url: str, tmp_path: Path) -> Iterator[Renamed]:
    """The files under names of this test, which are gone from the node afterwards."""
    with on_node(elasticsearch_url, "elasticsearch", tmp_path) as made:
        yield made


def test_a_new_index_gets_the_written_graph_and_fusion_in_the_client(renamed: Renamed) -> None:
    """The vector field has the index options of the file on every version, and no engine feature is paid for."""
    renamed.make_index()
    mappings = renamed.mappings()
    vector = mappings["properties"]["embedding"]
    assert (vector["dims"], vector["similarity"]) == (384, "cosine")
    assert vector["index_options"] == {"type": "int8_hnsw", "m": 16, "ef_construction": 100}
    form = profile.read(mappings["_meta"]["rescorer"]).hybrid
    assert form is not None
    assert (form.fusion, form.weights, form.search_pipeline) == ("min_max", (), "")


def test_both_halves_of_a_hybrid_search_are_answered(renamed: Renamed) -> None:
    """BM25 and kNN each find their documents through the fields of the files; filters and scores are the engine's."""
    renamed.make_index()
    near = {"field": "embedding", "query_vector": [0.0, 1.0] + [0.0] * 382, "k": 3, "num_candidates": 100}
    words = {"multi_match": {"query": "cancel flight", "fields": ["title", "body"]}}
    lexical = renamed.client.search(index=renamed.index, body={"query": words})["hits"]["hits"]
    semantic = renamed.client.search(index=renamed.index, body={"knn": near})["hits"]["hits"]
    assert [hit["_id"] for hit in lexical] == ["0"]
    assert semantic[0]["_id"] == "1"
    assert len(semantic) == 3
    assert semantic[0]["_score"] == pytest.approx(1.0, abs=0.01)  # (1 + cosine) / 2, from one byte per number


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_a_search_pipeline_is_refused_before_anything_is_sent(
    elasticsearch_url: str, renamed: Renamed, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """OpenSearch's folder on Elasticsearch: each pipeline, and the profile that names one, is a line with its mend."""
    pipelines = renamed.folder / "search_pipelines"
    pipelines.mkdir()
    (pipelines / "p.json").write_text('{"description": "d"}')
    assert cli.run(["templates", command, "--url", elasticsearch_url, "--folder", str(renamed.folder)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said == f"error search_pipelines/p.json: 'p' {templates.NO_PIPELINES}, and take the file away"
    (pipelines / "p.json").unlink()
    assert {entry.is_new for entry in templates.diff(renamed.client, renamed.read())} == {True}


def test_a_profile_that_names_a_pipeline_is_refused(
    elasticsearch_url: str, renamed: Renamed, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the file, the JSON path and what to write instead."""
    path = renamed.path("rescorer-profile")
    body = json.loads(path.read_text())
    form = body["template"]["mappings"]["_meta"]["rescorer"]["hybrid"]
    form |= {"fusion": "engine", "search_pipeline": "p"}
    path.write_text(json.dumps(body))
    words = ["--url", elasticsearch_url, "--folder", str(renamed.folder), "--engine", "elasticsearch"]
    assert cli.run(["templates", "apply", *words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    where = f"component_templates/{path.name}: template.mappings._meta.rescorer.hybrid.search_pipeline"
    assert said == f"error {where}: 'p' {templates.NO_PIPELINES}"


@pytest.mark.parametrize(
    "options",
    [{"type": "hnsw", "m": 8, "ef_construction": 50}, {"type": "flat"}, {"type": "int4_hnsw"}, {"type": "bbq_hnsw"}],
    ids=["hnsw", "flat", "int4", "bbq"],
)
def test_other_index_options_are_applied_once(renamed: Renamed, options: dict[str, object]) -> None:
    """Whatever graph a search engineer writes, the engine's form of it is recognised."""
    path = renamed.path("rescorer-vector")
    body = json.loads(path.read_text())
    body["template"]["mappings"]["properties"]["embedding"]["index_options"] = options
    path.write_text(json.dumps(body))
    renamed.apply()
    assert renamed.changed() == []


def test_a_pipeline_in_the_folder_is_no_matter_where_the_engine_is_overruled(
    elasticsearch_url: str, renamed: Renamed, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--engine`` wins over what the node says; then the node's own refusal comes out."""
    pipelines = renamed.folder / "search_pipelines"
    pipelines.mkdir()
    (pipelines / "p.json").write_text('{"description": "d"}')
    words = ["--url", elasticsearch_url, "--folder", str(renamed.folder), "--engine", "opensearch"]
    assert cli.run(["templates", "diff", *words]) == 2
    assert capsys.readouterr().err.startswith(f"error {elasticsearch_url} refuses")
    (pipelines / "p.json").unlink()
