"""From a name to a warm model: what is found, what is refused, and what the digest and the limit come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, processors

from contract.backends.tiny_models import WIDTH, write_onnx, write_padless_torch, write_torch
from rescorer_sidecar import folders, models, sources
from rescorer_sidecar.backends.arrays import checked_labels, one_logit, padded, pooled
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Tokens
from rescorer_sidecar.errors import ConfigError
from rescorer_sidecar.testing import fake_model, write_tokeniser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny ONNX cross-encoder, in a folder named as a bge model would be."""
    return write_onnx(tmp_path / "bge-tiny-en-v1")


def write_weights(folder: Path) -> Path:
    """A folder with a tokenizer and a safetensors file of one number, and nothing that says what it is."""
    save_file({"weight": np.ones(1, dtype=np.float32)}, str(write_tokeniser(folder) / "model.safetensors"))
    return folder


def one_line(error: pytest.ExceptionInfo[ConfigError]) -> str:
    """The message, which is one line."""
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_loads_and_says_what_it_is(folder: Path) -> None:
    """Name from the path, kind, backend, device, precision, limit; and it scores."""
    model = models.load(f"{folder}/", "cross-encoder", Settings())
    card = model.card
    assert (card.name, card.kind, card.max_tokens, card.dimension) == ("bge-tiny-en-v1", "cross-encoder", 512, 0)
    assert (card.backend, card.device, card.precision) == ("onnx", "cpu", "fp32")
    assert card.digest == folders.digest(folder)
    assert model.backend.forward(model.tokeniser.pairs("cat", ["hotel"], 64)).shape == (1,)


def test_a_model_in_the_onnx_folder_loads(folder: Path) -> None:
    """Hub repositories keep their ONNX file in onnx/; it is found there."""
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    assert models.load(str(folder), "cross-encoder", Settings()).card.backend == "onnx"


def test_a_quantised_file_runs_row_by_row(tmp_path: Path) -> None:
    """A graph with DynamicQuantizeLinear is int8 and takes one row a forward; a plain one is fp32 and takes any."""
    quantised = models.load(str(write_onnx(tmp_path / "q", quantised=True)), "cross-encoder", Settings())
    plain = models.load(str(write_onnx(tmp_path / "p")), "cross-encoder", Settings())
    assert (quantised.card.precision, quantised.backend.facts.rows_per_forward) == ("int8", 1)
    assert (plain.card.precision, plain.backend.facts.rows_per_forward) == ("fp32", None)


@pytest.mark.parametrize("width_is_named", [False, True])
def test_an_embedder_loads_with_its_dimension(tmp_path: Path, width_is_named: bool) -> None:
    """The dimension comes from the file, or, where the file leaves it open, from a run."""
    made = write_onnx(tmp_path / "vectors", labels=None, width_is_named=width_is_named)
    card = models.load(str(made), "embedder", Settings()).card
    assert (card.kind, card.dimension) == ("embedder", WIDTH)


@pytest.mark.parametrize(("labels", "width_is_named"), [(3, False), (3, True), (5, False)])
def test_a_classifier_of_many_labels_is_refused(tmp_path: Path, labels: int, width_is_named: bool) -> None:
    """S7: more than two labels are no relevance; the error says how many there are and how many may be."""
    made = write_onnx(tmp_path / "many", labels=labels, width_is_named=width_is_named)
    with pytest.raises(ConfigError, match=f"has {labels} labels; a cross-encoder has 1, or 2") as refused:
        models.load(str(made), "cross-encoder", Settings())
    assert "many" in one_line(refused)


def test_two_labels_with_an_open_width_load(tmp_path: Path) -> None:
    """S7: a two-label export that leaves its width open loads all the same."""
    made = write_onnx(tmp_path / "two", labels=2, width_is_named=True)
    assert models.load(str(made), "cross-encoder", Settings()).card.kind == "cross-encoder"


def test_the_digest_changes_with_every_file_that_decides_a_score(folder: Path) -> None:
    """S5: weights, external weights, tokenizer, configuration, pooling: each changed or renamed, another digest."""
    (folder / "1_Pooling").mkdir()
    for name in (
        *("config.json", "tokenizer_config.json", "1_Pooling/config.json", "config_sentence_transformers.json"),
        *("model.onnx_data", "m.safetensors"),
    ):
        (folder / name).write_text("{}")
    seen = {folders.digest(folder)}
    decisive = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(decisive) == 8
    for path in decisive:
        path.write_bytes(path.read_bytes() + b" ")
        seen.add(folders.digest(folder))
    decisive[0].rename(decisive[0].with_name("other_" + decisive[0].name))
    seen.add(folders.digest(folder))
    assert len(seen) == 10


def test_the_digest_ignores_what_decides_nothing(folder: Path) -> None:
    """A README, a licence or a log beside the model changes no digest; nor does the folder's own name."""
    before = folders.digest(folder)
    (folder / "README.md").write_text("words")
    (folder / "training.log").write_text("words")
    assert folders.digest(folder) == before
    assert folders.digest(folder.rename(folder.with_name("moved"))) == before


@pytest.mark.parametrize(
    ("tokenizer_config", "config", "limit"),
    [
        (None, None, 512),
        ({"model_max_length": 256}, None, 256),
        ({"model_max_length": int(1e30)}, None, 512),
        ({"model_max_length": None}, {"max_position_embeddings": None}, 512),
        (None, {"max_position_embeddings": 128}, 128),
        ({"model_max_length": 256}, {"max_position_embeddings": 128}, 128),
        ({"model_max_length": 64}, {"max_position_embeddings": 128}, 64),
        (None, {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        (None, {"model_type": "xlm-roberta", "max_position_embeddings": 8194, "pad_token_id": 1}, 8192),
        (None, {"model_type": "bert", "max_position_embeddings": 514}, 514),
        (None, {"model_type": "gpt2", "n_positions": 1024}, 1024),
    ],
)
def test_the_limit_comes_from_the_models_files(
    folder: Path, tokenizer_config: dict[str, object] | None, config: dict[str, object] | None, limit: int
) -> None:
    """The smaller of tokenizer and positions, RoBERTa's offset taken off, 512 where neither says anything."""
    for name, content in (("tokenizer_config.json", tokenizer_config), ("config.json", config)):
        if content is not None:
            (folder / name).write_text(json.dumps(content))
    assert models.load(str(folder), "cross-encoder", Settings()).card.max_tokens == limit


@pytest.mark.parametrize(("wanted", "limit"), [(0, 512), (100, 100), (4_000, 512), (16, 16)])
def test_a_setting_may_lower_the_limit_and_never_raise_it(folder: Path, wanted: int, limit: int) -> None:
    """max_tokens bounds the model's own limit from below; 0 leaves it."""
    assert models.load(str(folder), "cross-encoder", Settings(max_tokens=wanted)).card.max_tokens == limit


def test_a_limit_without_room_is_refused_at_load(folder: Path) -> None:
    """T3: fewer than 16 tokens hold no query and text; that is one line at the start, no failure at the first call."""
    with pytest.raises(ConfigError, match="a limit of 15 tokens holds no query and text") as refused:
        models.load(str(folder), "cross-encoder", Settings(max_tokens=15))
    one_line(refused)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["{ not json", "[1]"])
def test_a_broken_description_is_named(folder: Path, name: str, content: str) -> None:
    """A file that is no JSON object is one line with its path."""
    (folder / name).write_text(content)
    with pytest.raises(ConfigError) as refused:
        models.load(str(folder), "cross-encoder", Settings())
    assert str(folder / name) in one_line(refused)


def test_a_broken_onnx_file_is_named(folder: Path) -> None:
    """Bytes that are no ONNX model are one line with the file's path."""
    (folder / "model.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match="can't be loaded by onnxruntime") as refused:
        models.load(str(folder), "cross-encoder", Settings())
    assert str(folder / "model.onnx") in one_line(refused)


def test_a_model_that_does_not_fit_its_tokenizer_is_one_line(folder: Path) -> None:
    """A model that loads and then fails on the first text is refused at the start, with the failure's first line."""
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    plain.add_tokens([f"extra{number}" for number in range(600)])
    plain.post_processor = processors.TemplateProcessing(
        single="$A", pair="extra599 $A $B", special_tokens=[("extra599", plain.token_to_id("extra599"))]
    )
    plain.save(str(folder / "tokenizer.json"))
    with pytest.raises(ConfigError, match="loads, but fails on its first text: ") as refused:
        models.load(str(folder), "cross-encoder", Settings())
    one_line(refused)


def test_a_folder_without_an_onnx_file_says_what_to_do(tmp_path: Path) -> None:
    """Backend onnx over a folder without such a file names the files that would do, and the other backend."""
    with pytest.raises(ConfigError, match=r"holds no model\.onnx or onnx/model\.onnx; use backend torch"):
        models.load(str(write_weights(tmp_path)), "cross-encoder", Settings(backend="onnx"))


def test_onnx_on_cuda_is_refused(folder: Path) -> None:
    """Whoever asks for a GPU is not silently served on the CPU."""
    with pytest.raises(ConfigError, match="backend onnx runs on the CPU; use --backend torch"):
        models.load(str(folder), "cross-encoder", Settings(backend="onnx", device="cuda:0"))


@pytest.mark.parametrize("source", ["/nowhere/at/all", "nowhere", "./no", "../no", "a/b/c", "owner/na me"])
def test_what_is_neither_folder_nor_hub_name_is_refused(source: str) -> None:
    """A wrong path is one line that repeats it and says what a name looks like."""
    with pytest.raises(ConfigError, match=r"no such folder, and no hub name \(owner/name\)") as refused:
        models.load(source, "cross-encoder", Settings())
    assert source in one_line(refused)


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~ stands for the home folder in a file or a variable, where no shell expands it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert sources.resolve("~/model") == tmp_path / "model"


@pytest.mark.parametrize(
    ("name", "described", "wanted", "pooling"),
    [
        ("bge-small-en-v1.5", None, "auto", "cls"),
        ("BGE-large", None, "auto", "cls"),
        ("all-MiniLM-L6-v2", None, "auto", "mean"),
        ("bge-small-en-v1.5", {"pooling_mode_cls_token": False}, "auto", "mean"),
        ("all-MiniLM-L6-v2", {"pooling_mode_cls_token": True}, "auto", "cls"),
        ("all-MiniLM-L6-v2", {"pooling_mode_cls_token": True}, "mean", "mean"),
        ("all-MiniLM-L6-v2", None, "cls", "cls"),
    ],
)
def test_pooling_is_as_asked_or_as_the_model_says(
    tmp_path: Path, name: str, described: dict[str, bool] | None, wanted: str, pooling: str
) -> None:
    """The setting wins over 1_Pooling/config.json, and this over what the name tells; seen in the vectors."""
    made = write_onnx(tmp_path / name, labels=None)
    if described is not None:
        (made / "1_Pooling").mkdir()
        (made / "1_Pooling" / "config.json").write_text(json.dumps(described))
    model = models.load(str(made), "embedder", Settings(pooling=wanted))
    one, other = model.tokeniser.texts(["cat", "cat hotel train"], 64)
    same = np.allclose(model.backend.forward([one]), model.backend.forward([other]), atol=1e-6)
    assert same == (pooling == "cls")  # this model's states don't see their neighbours, so [CLS] is always the same


@pytest.mark.parametrize(
    ("name", "wanted", "prefix"),
    [
        ("bge-small-en-v1.5-int8", "auto", models.BGE_PREFIX),
        ("bge_small_en", "auto", models.BGE_PREFIX),
        ("BGE-base-EN-v1.5", "auto", models.BGE_PREFIX),
        ("bge-m3", "auto", ""),
        ("bge-small-zh", "auto", ""),
        ("all-MiniLM-L6-v2", "auto", ""),
        ("all-MiniLM-L6-v2", "query: ", "query: "),
        ("bge-small-en-v1.5", "", ""),
    ],
)
def test_the_query_prefix_is_as_asked_or_known(tmp_path: Path, name: str, wanted: str, prefix: str) -> None:
    """English bge models have theirs, others none, and a setting wins, an empty one too."""
    made = write_onnx(tmp_path / name, labels=None)
    assert models.load(str(made), "embedder", Settings(query_prefix=wanted)).query_prefix == prefix


@pytest.mark.parametrize("kind", ["cross-encoder", "embedder"])
@pytest.mark.parametrize("max_tokens", [32, 512, 100_000])
def test_warming_up_is_bounded_work(tmp_path: Path, kind: models.Kind, max_tokens: int) -> None:
    """P4: one short row and one of at most 512 words, however much the model could take."""
    backend = FakeBackend(dimension=8 if kind == "embedder" else 0)
    models.warm(fake_model(write_tokeniser(tmp_path), kind=kind, max_tokens=max_tokens, backend=backend))
    assert [len(batch) for batch in backend.batches] == [1, 1]
    assert max(len(batch[0]) for batch in backend.batches) <= min(max_tokens, 4 * 512 + 8)


def tokens(*ids: int) -> Tokens:
    """A row of one segment."""
    return Tokens(ids=ids, type_ids=(1,) * len(ids))


def test_padding_fills_up_at_the_end() -> None:
    """int64[rows, longest]: the padding id, mask 0 and segment 0 behind each shorter row."""
    arrays = padded([tokens(5, 6, 7), tokens(8)], pad_id=9)
    assert arrays["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert arrays["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert arrays["token_type_ids"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int64)}


def test_two_labels_are_relevant_minus_not_relevant() -> None:
    """S7: the difference ranks as the softmax does, also where the softmax has long been 1.0."""
    logits = np.array([[0.0, 40.0], [0.0, 50.0], [3.0, 1.0]], dtype=np.float32)
    assert one_logit(logits).tolist() == [40.0, 50.0, -2.0]
    assert one_logit(logits[:, :1]).tolist() == [0.0, 0.0, 3.0]


@pytest.mark.parametrize("count", [0, 3, "labels"])
def test_only_one_or_two_labels_pass(count: object) -> None:
    """S7: 1 and 2 pass, anything else is refused by name."""
    checked_labels(1, "here")
    checked_labels(2, "here")
    with pytest.raises(ConfigError, match=f"here has {count} labels"):
        checked_labels(count, "here")  # type: ignore[arg-type]  # a file may say anything


def test_pooling_leaves_padding_out() -> None:
    """The mean is over real tokens only, CLS is the first; both have length one, and zeros stay zeros."""
    states = np.array([[[3.0, 0.0], [0.0, 4.0], [100.0, 100.0]], [[0.0, 0.0]] * 3], dtype=np.float32)
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    assert pooled(states, mask, "mean")[0] == pytest.approx([0.6, 0.8])
    assert pooled(states, mask, "cls")[0] == pytest.approx([1.0, 0.0])
    assert pooled(states, mask, "mean")[1].tolist() == [0.0, 0.0]


@pytest.mark.slow
def test_a_hub_name_that_cannot_be_had_offline_is_one_line(tmp_path: Path) -> None:
    """Offline and not in the cache: the line names the hub name, the switch, and the way round it."""
    import os
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "rescorer_sidecar", "--model", "nobody/no-such-model", "--port", "0"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "nobody/no-such-model is not in the hub's cache and can't be downloaded (HF_HUB_OFFLINE is set)" in line
    assert "name a local folder" in line


@pytest.mark.slow
@pytest.mark.parametrize("labels", [1, 2])
def test_a_checkpoint_of_a_described_family_runs_natively(tmp_path: Path, labels: int) -> None:
    """One and two labels load on the CPU, in a precision that was measured, with the limit of their positions."""
    card = models.load(str(write_torch(tmp_path / "tiny", labels=labels)), "cross-encoder", Settings()).card
    assert (card.backend, card.device, card.max_tokens) == ("native", "cpu", 64)
    assert card.precision in {"fp32", "bf16"}


@pytest.mark.slow
def test_a_checkpoint_loads_through_torch_where_that_is_asked_for(tmp_path: Path) -> None:
    """``--backend torch`` runs the same folder in fp32 on the CPU, and has no int8."""
    folder = write_torch(tmp_path / "tiny")
    card = models.load(str(folder), "cross-encoder", Settings(backend="torch")).card
    assert (card.backend.split("-")[0], card.device, card.precision) == ("torch", "cpu", "fp32")
    with pytest.raises(ConfigError, match="backend torch has none"):
        models.load(str(folder), "cross-encoder", Settings(backend="torch", precision="int8"))


@pytest.mark.slow
def test_without_a_compiler_the_next_backend_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that can't compile serves all the same; who insists on native is told what to install."""
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", "no-such-compiler")
    folder = write_torch(tmp_path / "tiny")
    assert models.load(str(folder), "cross-encoder", Settings()).card.backend.startswith("torch")
    with pytest.raises(ConfigError, match="apt-get install gcc, or use --backend torch"):
        models.load(str(folder), "cross-encoder", Settings(backend="native"))


def test_native_says_why_it_runs_a_folder_not(tmp_path: Path) -> None:
    """``--backend native`` on a folder without a described checkpoint says what it lacks."""
    write_onnx(tmp_path / "tiny")
    with pytest.raises(
        ConfigError, match=r"backend native can't run it \(it has no config.json\); use --backend torch"
    ):
        models.load(str(tmp_path / "tiny"), "cross-encoder", Settings(backend="native"))


@pytest.mark.slow
def test_a_torch_checkpoint_of_three_labels_is_refused(tmp_path: Path) -> None:
    """S7: three labels are refused by number."""
    with pytest.raises(ConfigError, match="has 3 labels"):
        models.load(str(write_torch(tmp_path / "tiny", labels=3)), "cross-encoder", Settings())


@pytest.mark.slow
def test_a_bare_encoder_is_no_cross_encoder(tmp_path: Path) -> None:
    """A checkpoint without a trained head is refused: its scores would be random numbers that look like scores."""
    bare = write_torch(tmp_path / "bare", labels=None)
    with pytest.raises(ConfigError, match=r"is no cross-encoder: its checkpoint lacks classifier\."):
        models.load(str(bare), "cross-encoder", Settings())
    assert models.load(str(bare), "embedder", Settings()).card.dimension == WIDTH


@pytest.mark.slow
def test_a_checkpoint_without_a_padding_id_runs_row_by_row(tmp_path: Path) -> None:
    """S7: a classifier that reads the last token gets no padding where it could not tell it apart."""
    model = models.load(str(write_padless_torch(tmp_path / "gpt")), "cross-encoder", Settings())
    assert model.backend.facts.rows_per_forward == 1


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "near"), [("bf16", 0.2), ("fp16", 0.025)])
def test_torch_runs_in_the_precision_that_was_asked_for(tmp_path: Path, precision: str, near: float) -> None:
    """Half precision is told, and its logits are float32 near those of fp32: fp16, with 3 bits more, 8 times nearer."""
    made = str(write_torch(tmp_path / "tiny"))
    half = models.load(made, "cross-encoder", Settings(backend="torch", precision=precision))
    full = models.load(made, "cross-encoder", Settings(backend="torch", precision="fp32"))
    rows = half.tokeniser.pairs("cat", ["hotel", "late train to the hotel"], 64)
    found, expected = half.backend.forward(rows), full.backend.forward(rows)
    assert (half.card.precision, found.dtype) == (precision, np.float32)
    assert found == pytest.approx(expected, abs=near)


@pytest.mark.slow
def test_a_half_precision_model_gives_logits_finer_than_half_precision(tmp_path: Path) -> None:
    """S1: the head runs in float32, so that logits are not rounded to bf16's eight bits and tie."""
    import torch

    settings = Settings(backend="torch", precision="bf16")
    half = models.load(str(write_torch(tmp_path / "tiny")), "cross-encoder", settings)
    rows = half.tokeniser.pairs("cat", ["hotel", "late train", "late train to the hotel", "alog"], 64)
    found = half.backend.forward(rows)
    rounded = torch.from_numpy(found).bfloat16().float().numpy()
    assert (found != rounded).any()


@pytest.mark.slow
@pytest.mark.parametrize(("device", "message"), [("gpu", "is none that torch knows"), ("cuda:0", "torch sees no GPU")])
def test_a_device_that_is_not_there_is_one_line(tmp_path: Path, device: str, message: str) -> None:
    """A device that torch does not know, or does not have, is refused with the ones that would do."""
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        device, message = "gpu", "is none that torch knows"
    with pytest.raises(ConfigError, match=message) as refused:
        models.load(str(write_torch(tmp_path / "tiny")), "cross-encoder", Settings(device=device))
    assert device in one_line(refused)


@pytest.mark.slow
def test_a_folder_that_transformers_cannot_read_is_one_line(tmp_path: Path) -> None:
    """A checkpoint without a configuration says who could not load it, and where."""
    with pytest.raises(ConfigError, match="can't be loaded by transformers") as refused:
        models.load(str(write_weights(tmp_path)), "cross-encoder", Settings())
    assert str(tmp_path) in one_line(refused)
