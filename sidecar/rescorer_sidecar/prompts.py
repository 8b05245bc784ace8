"""How each family of generative rerankers is asked about a pair, and which words of its answer are the score.

## Decisions
2026-11: a prompt is a sequence of parts that are tokenised apart, cut where each family's own code cuts it: a
byte-pair tokenizer reads a text that was joined first as other tokens.
2026-11: the family follows from ``architectures`` in config.json and from nothing in the model's name. What makes
that safe are the golden orderings: a model that was tuned on other words than these does not pass them.
2026-11: classifiers made of generative rerankers need the same words, but their files don't tell them from classifiers
that were tuned on bare pairs. They are asked with the prompt if that passes the golden orderings, and bare otherwise.
2026-11: every golden query is held against all golden texts, and its own must win. That is twelve orderings from four
pairs; scores that have nothing to do with the texts pass all of them once in 256 times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rescorer_sidecar.errors import ConfigError

QUERY, TEXT = "{query}", "{text}"

LABEL_END = ": "
"""What every family puts between its word for the text and the text, as our own labels do."""

GENERATIVE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How the names of architectures end whose output is a next token."""

GOLDEN = (
    ("how do plants make sugar out of sunlight", "In photosynthesis, leaves use light to turn CO2 into glucose."),
    ("what is the boiling point of water", "At sea level water boils at 100 degrees Celsius, less on a mountain."),
    ("how to get red wine out of a carpet", "Blot the wine stain with a cloth, then rub salt into the carpet."),
    ("who painted the ceiling of the sistine chapel", "Michelangelo painted the chapel's ceiling from 1508 to 1512."),
)
"""Queries, each with a text that answers it and none of the others."""

Scorer = Callable[[str, Sequence[str]], Iterable[float]]
"""One score per text behind a query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The words of one family.

    parts: what the model reads, in order; one of them holds ``{query}``, and one behind it ``{text}``.
    marks: tokens of ours that a fitting tokenizer knows as one.
    relevant, irrelevant: tokens that answer; the score is the logit of the first, less that of the second if any.
    max_tokens: what the family's own code gives the model at most.
    """

    family: str
    parts: tuple[str, ...]
    marks: tuple[str, ...]
    relevant: str
    irrelevant: str | None
    max_tokens: int

    @property
    def front(self) -> tuple[str, ...]:
        """The parts before the text; the one with ``{query}`` is the caller's, the others are ours."""
        return self.parts[: self._text_place]

    @property
    def question(self) -> str:
        """The part that holds the query."""
        return next(part for part in self.front if QUERY in part)

    @property
    def back(self) -> tuple[str, ...]:
        """The parts behind the text."""
        return self.parts[self._text_place + 1 :]

    @property
    def lead(self) -> str:
        """What stands before the text in its own part."""
        return self.parts[self._text_place].removesuffix(TEXT)

    @property
    def answers(self) -> tuple[str, ...]:
        """The relevant one, and the other if the family reads it."""
        return (self.relevant,) if self.irrelevant is None else (self.relevant, self.irrelevant)

    @property
    def _text_place(self) -> int:
        return next(place for place, part in enumerate(self.parts) if TEXT in part)


# The prompt, the two answers and max_length: the model card of Qwen/Qwen3-Reranker-0.6B; the same words stand in
# github.com/vllm-project/vllm, examples/pooling/score/template/qwen3_reranker.jinja. On the card query,
# instruction and document are tokenised as one text; Qwen's pattern always cuts between "\n" and "<".
QWEN3_RERANKER = Prompt(
    family="Qwen3-Reranker",
    parts=(
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
        "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: {query}\n",
        "<Document>: {text}",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
    marks=("<|im_start|>", "<|im_end|>", "<think>", "</think>"),
    relevant="yes",
    irrelevant="no",
    max_tokens=8192,
)

# github.com/mixedbread-ai/mxbai-rerank, mxbai_rerank/mxbai_rerank_v2.py, class MxbaiRerankV2.
MXBAI_RERANK_V2 = Prompt(
    family="mxbai-rerank-v2",
    parts=(
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n",
        "query: {query}",
        "\n",
        "document: {text}",
        "\n",
        "You are a search relevance expert who evaluates how well documents match search queries. For each "
        "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
        "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:",
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
    marks=("<|im_start|>", "<|im_end|>"),
    relevant="1",
    irrelevant="0",
    max_tokens=8192,
)

# github.com/FlagOpen/FlagEmbedding, examples/inference/reranker/README.md, "LLM-based reranker", function get_inputs.
BGE_RERANKER_V2_GEMMA = Prompt(
    family="bge-reranker-v2-gemma",
    parts=(
        "<bos>",
        "A: {query}",
        "\n",
        "B: {text}",
        "\n",
        "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing "
        "a prediction of either 'Yes' or 'No'.",
    ),
    marks=("<bos>",),
    relevant="Yes",
    irrelevant=None,
    max_tokens=1024,
)

PROMPTS = {
    "Qwen3ForCausalLM": QWEN3_RERANKER,
    "Qwen2ForCausalLM": MXBAI_RERANK_V2,
    "GemmaForCausalLM": BGE_RERANKER_V2_GEMMA,
}
"""By what config.json says under ``architectures``."""

CLASSIFIERS = {name.replace("ForCausalLM", "ForSequenceClassification"): prompt for name, prompt in PROMPTS.items()}
"""The same models with the answers' rows as their head; they score what the originals score, in the same words."""


def prompt_of(config: Mapping[str, Any], source: str) -> Prompt | None:
    """The prompt of a generative reranker, ``None`` for a model that reads pairs without one.

    ConfigError for a generative model that no prompt is known for.
    """
    named = [str(name) for name in config.get("architectures") or ()]
    generative = next((name for name in named if name.endswith(GENERATIVE)), None)
    if generative is None:
        return None
    if generative not in PROMPTS:
        known = ", ".join(f"{prompt.family} ({name})" for name, prompt in PROMPTS.items())
        raise ConfigError(
            f"model {source} is generative, and no template is known for {generative}; known: {known}; "
            "serve one of these, or a cross-encoder"
        )
    return PROMPTS[generative]


def classifier_prompt_of(config: Mapping[str, Any]) -> Prompt | None:
    """The prompt that a classifier of a generative family may have been made for; ``None`` for other families."""
    named = (CLASSIFIERS.get(str(name)) for name in config.get("architectures") or ())
    return next((prompt for prompt in named if prompt is not None), None)


def check_orderings(prompt: Prompt, scorer: Scorer, source: str) -> None:
    """Refuse a model that doesn't put each golden query's own text first: it was not made for this prompt."""
    texts = [text for _, text in GOLDEN]
    wrong = []
    for own, (query, _) in enumerate(GOLDEN):
        scores = [float(score) for score in scorer(query, texts)]
        others = scores[:own] + scores[own + 1 :]
        if not all(scores[own] > other for other in others):
            wrong.append(f'"{query}": {scores[own]:.3f} for the text that answers it, {max(others):.3f} for another')
    if wrong:
        raise ConfigError(
            f"model {source} orders {len(wrong)} of {len(GOLDEN)} golden queries wrongly with the template of "
            f"{prompt.family} ({wrong[0]}): it was made for another template, or its weights are broken; "
            f"serve a model of {prompt.family} as its makers published it, or a cross-encoder"
        )
