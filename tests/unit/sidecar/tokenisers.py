"""Tokenizers of the three usual kinds, each a few dozen entries, and what the plain library makes of a pair."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from rescorer_sidecar.testing import write_tokeniser
from rescorer_sidecar.tokenise import Tokeniser

KINDS = ("wordpiece", "bytes", "metaspace")


def of_bytes() -> Tokenizer:
    """As RoBERTa's: byte-level BPE, four special tokens a pair."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = {entry: number for number, entry in enumerate(["<s>", "</s>", *letters, "ca", "Ġc", "Ġca"])}
    made = Tokenizer(models.BPE(known, [("c", "a"), ("Ġ", "c"), ("Ġ", "ca")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return made


def of_metaspace() -> Tokenizer:
    """As XLM-R's: Unigram over whole stretches between spaces, after a normaliser that folds and strips."""
    pieces = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((chr(code), -5.0) for code in range(33, 127)), ("▁", -3.0)]
    made = Tokenizer(models.Unigram([*pieces, ("▁ca", -2.0), ("at", -4.0)], unk_id=2, byte_fallback=False))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return made


def both(folder: Path, kind: str) -> tuple[Tokeniser, Tokenizer]:
    """Ours and the plain library's, over the same file in ``folder``."""
    if kind == "wordpiece":
        write_tokeniser(folder)
    else:
        made = of_bytes() if kind == "bytes" else of_metaspace()
        made.save(str(folder / "tokenizer.json"))
    return Tokeniser(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))


def whole(plain: Tokenizer, query: str, text: str, limit: int) -> tuple[list[int], bool]:
    """The pair as the library makes it from the whole text, cut at the text's end."""
    asked, read = (plain.encode(part, add_special_tokens=False) for part in (query, text))
    room = limit - len(asked) - plain.num_special_tokens_to_add(True)
    is_cut = len(read) > room
    read.truncate(room)
    return plain.post_process(asked, read).ids, is_cut
