"""Model folders that are not sound: each is one line that names the file or the weight, and the way out."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from contract.backends.tiny_models import VOCABULARY, write_onnx, write_padless_torch, write_torch
from rescorer_sidecar import folders, models, sources, weights
from rescorer_sidecar.backends import encoder
from rescorer_sidecar.config import Settings
from rescorer_sidecar.errors import BadCheckpoint, ConfigError, ModelNotFound, TooLarge, UnsupportedModel
from rescorer_sidecar.memory import Budget, free_bytes, free_in_group, needed_bytes
from rescorer_sidecar.testing import write_tokeniser
from unit.sidecar import random_encoders

WEIGHT = "bert.encoder.layer.1.output.dense.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a tiny sound BERT cross-encoder."""
    folder = write_torch(tmp_path_factory.mktemp("whole"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path, whole: dict[str, bytes]) -> Path:
    """A copy of it, to be spoilt."""
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def refused(folder: Path, kind: type[ConfigError] = BadCheckpoint, **wanted: object) -> str:
    """The one line with which the folder is refused, through every backend that could run it."""
    said = set()
    for backend in ("native", "torch"):
        with pytest.raises(kind) as caught:
            models.load(str(folder), "cross-encoder", Settings(**{"backend": backend, **wanted}))
        said.add(str(caught.value))
    (line,) = said
    assert "\n" not in line
    return line


def change(folder: Path, **replaced: np.ndarray | None) -> None:
    """Write the weights again with some in the place of others; None leaves one out."""
    held = load_file(str(folder / "model.safetensors"))
    held |= {name: value for name, value in replaced.items() if value is not None}
    kept = {name: value for name, value in held.items() if not (name in replaced and replaced[name] is None)}
    save_file(kept, str(folder / "model.safetensors"), metadata={"format": "pt"})


def configure(folder: Path, file: str = "config.json", **told: object) -> None:
    """Change what a description tells."""
    path = folder / file
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.is_file() else {}), **told}))


def test_the_sound_folder_loads(folder: Path) -> None:
    """What the other tests spoil is served, by both."""
    assert models.load(str(folder), "cross-encoder", Settings(backend="native")).card.backend == "native"
    assert models.load(str(folder), "cross-encoder", Settings(backend="torch")).card.backend == "torch-packed"


def test_a_missing_weight_is_named(folder: Path) -> None:
    """No weight is made up."""
    change(folder, **{WEIGHT: None})
    assert f"its checkpoint lacks {WEIGHT}" in refused(folder, ConfigError)


@pytest.mark.parametrize("shape", [(16, 31), (32, 16), (16, 64), (1, 1), (512,)])
def test_a_weight_of_another_shape_is_named_with_both_shapes(folder: Path, shape: tuple[int, ...]) -> None:
    """Neither C nor torch gets numbers that are laid out otherwise than config.json tells."""
    change(folder, **{WEIGHT: np.ones(shape, dtype=np.float32)})
    line = refused(folder)
    assert f"holds {WEIGHT} as {list(shape)}, and config.json tells [16, 32]" in line
    assert str(folder / "model.safetensors") in line


@pytest.mark.parametrize(
    "name", ["bert.encoder.layer.2.output.dense.weight", "bert.encoder.layer.12.output.dense.bias"]
)
def test_a_layer_too_many_is_named(folder: Path, name: str) -> None:
    """A checkpoint with more layers than config.json tells is another model's."""
    change(folder, **{name: np.ones((16, 32), dtype=np.float32)})
    assert f"holds {name}, and config.json tells 2 layers" in refused(folder)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("transformer.h.1.mlp.c_proj.weight", (3, 3), "as [3, 3], and config.json tells [64, 16]"),
        ("transformer.h.7.mlp.c_proj.weight", (64, 16), ", which config.json tells nothing of"),
    ],
)
def test_what_runs_through_transformers_is_looked_at_too(
    tmp_path: Path, name: str, shape: tuple[int, ...], said: str
) -> None:
    """A family that is not described: another shape and a layer too many are named all the same."""
    made = write_padless_torch(tmp_path)
    change(made, **{name: np.ones(shape, dtype=np.float32)})
    with pytest.raises(BadCheckpoint) as caught:
        models.load(str(made), "cross-encoder", Settings())
    assert f"holds {name}{' ' if said.startswith('as') else ''}{said}" in str(caught.value)


def test_what_runs_through_transformers_says_so_at_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A family that is not described is served, and the log tells how and why."""
    with caplog.at_level("INFO"):
        card = models.load(str(write_padless_torch(tmp_path)), "cross-encoder", Settings()).card
    assert card.backend == "torch"
    assert "runs padded, through transformers: model_type gpt2 is none of bert" in caplog.text


def test_what_pre_training_left_is_passed(folder: Path) -> None:
    """Heads of pre-training and buffers of older versions lie in many rerankers and harm nobody."""
    left = {
        "cls.predictions.bias": np.ones(VOCABULARY, dtype=np.float32),
        "bert.embeddings.position_ids": np.arange(64)[None],
    }
    change(folder, **left)
    assert models.load(str(folder), "cross-encoder", Settings(backend="torch")).card.max_tokens == 64


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_a_weight_that_is_not_finite_is_named(folder: Path, value: float, kind: str) -> None:
    """One NaN among all weights is found, in each number format, before it makes every score one."""
    import torch
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    stored = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[kind]
    held = {name: tensor.to(stored) for name, tensor in load_torch(str(folder / "model.safetensors")).items()}
    held[WEIGHT][3, 4] = value
    save_torch(held, str(folder / "model.safetensors"), metadata={"format": "pt"})
    assert f"holds NaN or infinity in {WEIGHT}" in refused(folder)


@given(values=st.lists(st.floats(width=32), min_size=1, max_size=40))
@settings(max_examples=50)
def test_finite_is_what_numpy_calls_finite(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    """For any numbers, the check of values says what numpy says of them."""
    folder = tmp_path_factory.mktemp("values")
    numbers = np.array(values, dtype=np.float32)
    save_file({"weight": numbers}, str(folder / "model.safetensors"))
    try:
        weights.check_values(weights.stored(folder))
        found = True
    except BadCheckpoint:
        found = False
    assert found == bool(np.isfinite(numbers).all())


@pytest.mark.parametrize("kept", [0, 7, 9, 100, -1])
def test_a_file_that_ends_early_is_named(folder: Path, kept: int) -> None:
    """A download that broke off in the length, the header or the weights is told from its header."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    line = refused(folder)
    assert str(path) in line
    assert "download or save the model again" in line


def test_a_position_table_shorter_than_told_is_named(folder: Path) -> None:
    """A limit beyond the position table would read beyond it; both lengths are told."""
    configure(folder, max_position_embeddings=512)
    line = refused(folder)
    assert "position_embeddings.weight as [64, 16], and config.json tells [512, 16]" in line


def test_a_tokenizer_with_more_words_than_the_model_is_named(folder: Path) -> None:
    """A tokenizer from another model gives ids that the embedding table has no row for."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([f"extra{number}" for number in range(VOCABULARY)])
    tokenizer.save(str(folder / "tokenizer.json"))
    line = refused(folder)
    assert f"and config.json tells a vocabulary of {VOCABULARY}; take tokenizer.json from the same model" in line
    assert str(folder / "tokenizer.json") in line


def test_a_tokenizer_without_special_tokens_is_named(folder: Path) -> None:
    """BERT was never trained on a pair without [CLS] and [SEP]."""
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "post_processor": None}))
    assert "puts no special tokens around a pair, as bert was trained with" in refused(folder)


def test_a_model_whose_scores_are_no_numbers_is_refused(tmp_path: Path) -> None:
    """Where weights can't be looked at, in an ONNX file, the first text tells."""
    import onnx
    from onnx import numpy_helper

    made = write_onnx(tmp_path / "nan")
    graph = onnx.load(str(made / "model.onnx"))
    last = next(tensor for tensor in graph.graph.initializer if tensor.name == "last")
    spoilt = np.full(numpy_helper.to_array(last).shape, np.nan, dtype=np.float32)
    last.CopyFrom(numpy_helper.from_array(spoilt, "last"))
    onnx.save(graph, str(made / "model.onnx"))
    with pytest.raises(ConfigError, match="loads, but fails on its first text: ValueError: its result is no number"):
        models.load(str(made), "cross-encoder", Settings())


def test_a_pickle_file_is_refused_with_the_way_to_convert_it(folder: Path) -> None:
    """pytorch_model.bin can run code: it is never loaded, and the error says how to make safetensors of it."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    line = refused(folder)
    assert f"{folder / 'pytorch_model.bin'} is a pickle file" in line
    assert "save_pretrained" in line


def test_a_shard_that_is_not_there_is_named(folder: Path) -> None:
    """The index names a file that was not downloaded."""
    shards = {WEIGHT: "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert "names model-00002-of-00002.safetensors, which is not there" in refused(folder)


def test_a_half_downloaded_file_is_named(folder: Path) -> None:
    """Hub clients keep what they have of a file as .incomplete."""
    part = folder / ".cache" / "huggingface" / "download"
    part.mkdir(parents=True)
    (part / "model.safetensors.abc.incomplete").touch()
    assert "model.safetensors.abc.incomplete was not downloaded to its end" in refused(folder)


def test_a_link_to_a_file_that_is_gone_is_named(folder: Path) -> None:
    """A hub's cache whose blobs were deleted leaves links that lead nowhere."""
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "blobs" / "gone")
    assert "model.safetensors leads to a file that is gone" in refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json", "config.json"])
def test_a_disk_that_fails_while_loading_is_named(folder: Path, name: str) -> None:
    """A read that fails is no stack trace: the file, what the system said, what to look at.

    /proc/self/mem can be opened and not read, as a file on a disk that is gone.
    """
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("/proc/self/mem")
    line = refused(folder)
    assert "can't be read: Input/output error" in line
    assert "see whether its disk is there" in line


def test_three_labels_are_refused_by_their_number(folder: Path) -> None:
    """A classifier of three is refused from its description, before it is loaded."""
    configure(folder, id2label={"0": "a", "1": "b", "2": "c"})
    assert "config.json has 3 labels; a cross-encoder has 1, or 2" in refused(folder, ConfigError)


def test_a_generative_model_without_a_template_is_refused_by_name(folder: Path) -> None:
    """What no template is known for is named, with those that there are."""
    configure(folder, architectures=["MistralForCausalLM"])
    assert "no template is known for MistralForCausalLM" in refused(folder, ConfigError)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("config.json", {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}),
        ("config.json", {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}),
        ("config_sentence_transformers.json", {"activation_fn": "torch.nn.modules.linear.Identity", "prompts": {}}),
    ],
)
def test_activations_that_keep_the_order_are_passed(folder: Path, file: str, told: dict[str, object]) -> None:
    """S3: we rank by the logit, whatever is put on top of it: the model's own activation changes no logit."""
    plain = models.load(str(folder), "cross-encoder", Settings(precision="fp32"))
    configure(folder, file, **told)
    active = models.load(str(folder), "cross-encoder", Settings(precision="fp32"))
    rows = plain.tokeniser.pairs("cat", ["hotel", "late train"], 64)
    assert active.backend.forward(rows) == pytest.approx(plain.backend.forward(rows))


def test_an_activation_that_may_turn_the_order_is_refused_by_name(folder: Path) -> None:
    """An activation that nobody knows may rank otherwise than the logit does."""
    configure(folder, sentence_transformers={"activation_fn": "their.module.Distance"})
    assert "its activation their.module.Distance may change the order of logits" in refused(folder, UnsupportedModel)


def test_code_of_the_models_own_is_never_run(folder: Path) -> None:
    """A model that asks for code beside its weights is refused by the name of that code."""
    configure(folder, auto_map={"AutoModelForSequenceClassification": "modeling_theirs.Theirs"})
    assert "asks for code of the model's own (modeling_theirs.Theirs), which is never run" in refused(
        folder, UnsupportedModel
    )


def test_a_prompt_that_cross_encoders_are_not_given_is_refused(folder: Path) -> None:
    """A default prompt was there in training; without it scores would be others."""
    told = {"prompts": {"web": "Given a web query: "}, "default_prompt_name": "web"}
    configure(folder, "config_sentence_transformers.json", **told)
    assert "default_prompt_name puts 'Given a web query: ' before each pair" in refused(folder, UnsupportedModel)


def test_an_embedders_prompts_are_its_prefixes(tmp_path: Path) -> None:
    """What config_sentence_transformers.json tells for queries and documents is put before them, unless one is set."""
    made = write_onnx(tmp_path / "vectors", labels=None)
    told = {"query": "query: ", "passage": "passage: "}
    configure(made, "config_sentence_transformers.json", prompts=told, default_prompt_name=None)
    for prefix, expected in (("auto", ("query: ", "passage: ")), ("", ("", "")), ("q ", ("q ", ""))):
        model = models.load(str(made), "embedder", Settings(query_prefix=prefix))
        assert (model.query_prefix, model.document_prefix) == expected


def test_the_limit_of_sentence_transformers_counts(folder: Path) -> None:
    """max_seq_length lowers the limit of the position table, and never raises it."""
    configure(folder, "sentence_bert_config.json", max_seq_length=32)
    assert models.load(str(folder), "cross-encoder", Settings()).card.max_tokens == 32
    configure(folder, "sentence_bert_config.json", max_seq_length=4096)
    assert models.load(str(folder), "cross-encoder", Settings()).card.max_tokens == 64


def test_a_model_that_does_not_fit_is_refused_with_both_sizes(folder: Path) -> None:
    """What it takes and what is left; told before anything is loaded, so NaN in it is not even seen."""
    change(folder, **{WEIGHT: np.full((16, 32), np.nan, dtype=np.float32)})
    with pytest.raises(TooLarge, match=r"takes about 28 MB and 5 MB of memory_mb are left; raise memory_mb") as caught:
        models.load(str(folder), "cross-encoder", Settings(memory_mb=5))
    assert (caught.value.needed_bytes // 1_000_000, caught.value.free_bytes) == (28, 5_000_000)


def test_models_share_the_memory(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two that fit alone do not fit together: the second is refused, with what the first has left."""
    other = tmp_path_factory.mktemp("other")
    for path in folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    told: list[models.Model] = []
    with pytest.raises(TooLarge, match=r"takes about 28 MB and 12 MB of memory_mb are left"):
        models.load_all(Settings(model=f"{folder},{other}", memory_mb=40), told.append)
    assert [model.card.source for model in told] == [str(folder)]
    assert len(models.load_all(Settings(model=f"{folder},{other}", memory_mb=80), told.append)) == 2


def test_every_model_that_cannot_be_loaded_is_told(folder: Path) -> None:
    """Two wrong ones of three are one line with both; none is served half."""
    with pytest.raises(ConfigError, match=r"^2 models can't be loaded: .*nowhere.* \| .*nobody") as caught:
        models.load_all(Settings(model=f"nowhere,{folder}", embedder="./nobody"), lambda _: None)
    assert "\n" not in str(caught.value)


def test_the_first_model_of_a_kind_comes_first(folder: Path) -> None:
    """The order of the list is the order in which they are served: the first is the default."""
    int8 = write_onnx(folder / "second")
    loaded = models.load_all(Settings(model=f"{folder} , {int8},"), lambda _: None)
    assert [model.card.name for model in loaded] == [folder.name, "second"]


def test_two_models_of_one_name_are_refused() -> None:
    """Requests could not tell them apart."""
    with pytest.raises(ConfigError, match="models a/same and b/same@main would both be served as same"):
        sources.listed("a/same, b/same@main")


def test_no_model_is_called_auto() -> None:
    """Requests that say so leave the choice to the sidecar."""
    with pytest.raises(ConfigError, match="model owner/auto would be served as auto; rename its folder"):
        sources.listed("a/same, owner/auto")


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_what_torch_fails_with_while_loading_is_one_line(folder: Path, tmp_path: Path, family: str) -> None:
    """A device that takes no weights, as one whose memory is full: the model, what torch says, no stack trace."""
    made = folder if family == "bert" else write_padless_torch(tmp_path / "gpt")
    with pytest.raises(ConfigError, match=r"can't be loaded: .*; see rescorer models check") as caught:
        models.load(str(made), "cross-encoder", Settings(backend="torch", device="vulkan"))
    assert str(made) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_machine_has_memory() -> None:
    """What is free is told in bytes, from the machine or the control group, and a budget of 0 takes it."""
    assert 1_000_000 < free_bytes() < 1 << 62
    Budget().take(1_000_000, "tiny")


@pytest.mark.parametrize(
    ("most", "held", "idle", "free"),
    [("1000", 400, 100, 700), ("1000", 1200, 100, 0), ("max", 400, 100, 1 << 62)],
)
def test_a_control_group_bounds_what_is_free(tmp_path: Path, most: str, held: int, idle: int, free: int) -> None:
    """In a container the group's limit counts; file pages that nobody uses give way."""
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text(f"{held}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {idle}\nactive_file 5\n")
    assert free_in_group(tmp_path) == free
    assert free_in_group(tmp_path / "none") == 1 << 62


@pytest.mark.parametrize(("precision", "bytes_each"), [("fp32", 4), ("bf16", 2), ("int8", 1)])
def test_the_estimate_grows_with_the_precision(folder: Path, precision: str, bytes_each: int) -> None:
    """Native holds tables in float32 and all else in the precision asked for."""
    tensors = weights.stored(folder)
    tables = sum(tensor.values for tensor in tensors if "embeddings.weight" in tensor.name)
    others = sum(tensor.values for tensor in tensors) - tables
    assert needed_bytes(folder, "native", precision) == 28_000_000 + 4 * tables + bytes_each * others


DEBERTA = {
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": ["c2p", "p2c"],
}


@pytest.mark.parametrize(
    ("family", "told"),
    [
        *((family, {}) for family in encoder.FAMILIES if family not in ("deberta-v2", "new")),
        ("electra", {"embedding_size": 32}),
        ("modernbert", {"attention_bias": True, "mlp_bias": True, "norm_bias": True}),
        ("deberta-v2", DEBERTA),
        ("deberta-v2", DEBERTA | {"share_att_key": True, "position_biased_input": False}),
        ("deberta-v2", DEBERTA | {"embedding_size": 32}),
    ],
)
def test_no_sound_checkpoint_of_a_described_family_is_refused(
    tmp_path: Path, family: str, told: dict[str, object]
) -> None:
    """Names and shapes that we expect are those that each family's checkpoints have."""
    made = random_encoders.checkpoint(tmp_path, family, (64, 2, 128), **told)
    weights.check_names(weights.stored(made), encoder.described(made), folders.described(made))


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_given_up(silent_hub: str, tmp_path: Path) -> None:
    """The start ends within the time limit, with the name, the cause and the ways out."""
    import os
    import subprocess
    import sys

    begun_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "rescorer_sidecar", "--model", "nobody/no-such-model@v1", "--port", "0"],
        env={**os.environ, "HF_ENDPOINT": silent_hub, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert time.monotonic() - begun_s < 40
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert "nobody/no-such-model at revision v1 is not in the hub's cache and can't be downloaded (ReadTimeout)" in line
    assert "name a local folder" in line


@pytest.mark.parametrize(
    ("source", "name", "unpinned"),
    [
        ("owner/model", "model", "owner/model"),
        ("owner/model@main", "model", "owner/model"),
        ("owner/model.v2@refs/pr/1", "model.v2", "owner/model.v2"),
        ("/some/folder/", "folder", "/some/folder/"),
        ("/some/at@home", "at@home", "/some/at@home"),
        ("fetched", "fetched", "fetched"),
    ],
)
def test_a_model_is_called_by_the_last_part_of_its_name(source: str, name: str, unpinned: str) -> None:
    """A revision is no part of the name; an @ in a path is."""
    assert (sources.name_of(source), sources.unpinned(source)) == (name, unpinned)


def test_a_fetched_model_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``rescorer models get`` has put into the cache needs no path."""
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path))
    made = write_tokeniser(tmp_path / "models" / "tiny")
    assert sources.resolve("tiny") == made
    with pytest.raises(ModelNotFound, match=r"model tinny: no such folder, and no hub name .* fetched models: tiny"):
        sources.resolve("tinny")


def test_a_pinned_revision_in_the_hubs_cache_is_found_offline(tmp_path: Path) -> None:
    """owner/name@commit loads that very commit from the hub's cache, and another one is refused by its revision."""
    import os
    import subprocess
    import sys

    commit = "1" * 40
    snapshot = tmp_path / "hub" / "models--owner--tiny" / "snapshots" / commit
    write_onnx(snapshot)
    script = "import sys; from rescorer_sidecar.sources import resolve; print(resolve(sys.argv[1]))"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}

    def asked(source: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, source]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert asked(f"owner/tiny@{commit}").stdout.strip() == str(snapshot)
    lost = asked("owner/tiny@" + "2" * 40)
    assert f"model owner/tiny at revision {'2' * 40} is not in the hub's cache" in lost.stderr
