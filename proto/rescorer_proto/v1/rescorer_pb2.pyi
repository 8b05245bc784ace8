from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LongTextMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LONG_TEXT_MODE_UNSPECIFIED: _ClassVar[LongTextMode]
    LONG_TEXT_MODE_CHUNKS: _ClassVar[LongTextMode]

class Activation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTIVATION_UNSPECIFIED: _ClassVar[Activation]
    ACTIVATION_SIGMOID: _ClassVar[Activation]

class ScoreStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORE_STATUS_UNSPECIFIED: _ClassVar[ScoreStatus]
    SCORE_STATUS_COMPLETE: _ClassVar[ScoreStatus]
    SCORE_STATUS_PARTIAL: _ClassVar[ScoreStatus]

class EmbedKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMBED_KIND_UNSPECIFIED: _ClassVar[EmbedKind]
    EMBED_KIND_QUERY: _ClassVar[EmbedKind]
    EMBED_KIND_DOCUMENT: _ClassVar[EmbedKind]

class ModelKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_KIND_UNSPECIFIED: _ClassVar[ModelKind]
    MODEL_KIND_CROSS_ENCODER: _ClassVar[ModelKind]
    MODEL_KIND_EMBEDDER: _ClassVar[ModelKind]
LONG_TEXT_MODE_UNSPECIFIED: LongTextMode
LONG_TEXT_MODE_CHUNKS: LongTextMode
ACTIVATION_UNSPECIFIED: Activation
ACTIVATION_SIGMOID: Activation
SCORE_STATUS_UNSPECIFIED: ScoreStatus
SCORE_STATUS_COMPLETE: ScoreStatus
SCORE_STATUS_PARTIAL: ScoreStatus
EMBED_KIND_UNSPECIFIED: EmbedKind
EMBED_KIND_QUERY: EmbedKind
EMBED_KIND_DOCUMENT: EmbedKind
MODEL_KIND_UNSPECIFIED: ModelKind
MODEL_KIND_CROSS_ENCODER: ModelKind
MODEL_KIND_EMBEDDER: ModelKind

class ScoreRequest(_message.Message):
    __slots__ = ("query", "candidates", "model", "options", "cascade", "models")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    CASCADE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    query: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    model: str
    options: ScoreOptions
    cascade: _containers.RepeatedCompositeFieldContainer[Stage]
    models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, query: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., model: _Optional[str] = ..., options: _Optional[_Union[ScoreOptions, _Mapping]] = ..., cascade: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., models: _Optional[_Iterable[str]] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("model", "keep")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    model: str
    keep: int
    def __init__(self, model: _Optional[str] = ..., keep: _Optional[int] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("id", "text", "fields")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    text: str
    fields: LabelledFields
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ..., fields: _Optional[_Union[LabelledFields, _Mapping]] = ...) -> None: ...

class LabelledFields(_message.Message):
    __slots__ = ("fields",)
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedCompositeFieldContainer[LabelledField]
    def __init__(self, fields: _Optional[_Iterable[_Union[LabelledField, _Mapping]]] = ...) -> None: ...

class LabelledField(_message.Message):
    __slots__ = ("label", "text", "max_tokens")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    label: str
    text: str
    max_tokens: int
    def __init__(self, label: _Optional[str] = ..., text: _Optional[str] = ..., max_tokens: _Optional[int] = ...) -> None: ...

class ScoreOptions(_message.Message):
    __slots__ = ("max_tokens", "activation", "long_texts")
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    LONG_TEXTS_FIELD_NUMBER: _ClassVar[int]
    max_tokens: int
    activation: Activation
    long_texts: LongTexts
    def __init__(self, max_tokens: _Optional[int] = ..., activation: _Optional[_Union[Activation, str]] = ..., long_texts: _Optional[_Union[LongTexts, _Mapping]] = ...) -> None: ...

class LongTexts(_message.Message):
    __slots__ = ("mode", "chunk_tokens", "overlap_tokens", "most_chunks", "top")
    MODE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MOST_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    mode: LongTextMode
    chunk_tokens: int
    overlap_tokens: int
    most_chunks: int
    top: int
    def __init__(self, mode: _Optional[_Union[LongTextMode, str]] = ..., chunk_tokens: _Optional[int] = ..., overlap_tokens: _Optional[int] = ..., most_chunks: _Optional[int] = ..., top: _Optional[int] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("results", "model", "status", "timings", "stages", "choice")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ScoredCandidate]
    model: ModelRef
    status: ScoreStatus
    timings: Timings
    stages: _containers.RepeatedCompositeFieldContainer[StageResult]
    choice: Choice
    def __init__(self, results: _Optional[_Iterable[_Union[ScoredCandidate, _Mapping]]] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., status: _Optional[_Union[ScoreStatus, str]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., stages: _Optional[_Iterable[_Union[StageResult, _Mapping]]] = ..., choice: _Optional[_Union[Choice, _Mapping]] = ...) -> None: ...

class StageResult(_message.Message):
    __slots__ = ("model", "candidates", "scored", "ms")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SCORED_FIELD_NUMBER: _ClassVar[int]
    MS_FIELD_NUMBER: _ClassVar[int]
    model: ModelRef
    candidates: int
    scored: int
    ms: float
    def __init__(self, model: _Optional[_Union[ModelRef, _Mapping]] = ..., candidates: _Optional[int] = ..., scored: _Optional[int] = ..., ms: _Optional[float] = ...) -> None: ...

class Choice(_message.Message):
    __slots__ = ("model", "window", "reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    window: int
    reason: str
    def __init__(self, model: _Optional[str] = ..., window: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ScoredCandidate(_message.Message):
    __slots__ = ("id", "index", "logit", "score", "token_count", "truncated", "cached", "chunk_count", "best_chunk", "stage")
    ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    CHUNK_COUNT_FIELD_NUMBER: _ClassVar[int]
    BEST_CHUNK_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    index: int
    logit: float
    score: float
    token_count: int
    truncated: bool
    cached: bool
    chunk_count: int
    best_chunk: int
    stage: int
    def __init__(self, id: _Optional[str] = ..., index: _Optional[int] = ..., logit: _Optional[float] = ..., score: _Optional[float] = ..., token_count: _Optional[int] = ..., truncated: bool = ..., cached: bool = ..., chunk_count: _Optional[int] = ..., best_chunk: _Optional[int] = ..., stage: _Optional[int] = ...) -> None: ...

class ScoreManyRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[ScoreRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[ScoreRequest, _Mapping]]] = ...) -> None: ...

class ScoreManyResponse(_message.Message):
    __slots__ = ("answers",)
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ScoreAnswer]
    def __init__(self, answers: _Optional[_Iterable[_Union[ScoreAnswer, _Mapping]]] = ...) -> None: ...

class ScoreAnswer(_message.Message):
    __slots__ = ("scores", "error")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    scores: ScoreResponse
    error: _status_pb2.Status
    def __init__(self, scores: _Optional[_Union[ScoreResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("tokenise_ms", "queue_ms", "forward_ms", "total_ms")
    TOKENISE_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    FORWARD_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    tokenise_ms: float
    queue_ms: float
    forward_ms: float
    total_ms: float
    def __init__(self, tokenise_ms: _Optional[float] = ..., queue_ms: _Optional[float] = ..., forward_ms: _Optional[float] = ..., total_ms: _Optional[float] = ...) -> None: ...

class ModelRef(_message.Message):
    __slots__ = ("name", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("texts", "model", "kind")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    model: str
    kind: EmbedKind
    def __init__(self, texts: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., kind: _Optional[_Union[EmbedKind, str]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("embeddings", "model", "timings")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    model: ModelRef
    timings: Timings
    def __init__(self, embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("values", "token_count", "truncated")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    token_count: int
    truncated: bool
    def __init__(self, values: _Optional[_Iterable[float]] = ..., token_count: _Optional[int] = ..., truncated: bool = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("model", "kind", "is_default", "max_tokens", "dimension", "backend", "device", "precision")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    model: ModelRef
    kind: ModelKind
    is_default: bool
    max_tokens: int
    dimension: int
    backend: str
    device: str
    precision: str
    def __init__(self, model: _Optional[_Union[ModelRef, _Mapping]] = ..., kind: _Optional[_Union[ModelKind, str]] = ..., is_default: bool = ..., max_tokens: _Optional[int] = ..., dimension: _Optional[int] = ..., backend: _Optional[str] = ..., device: _Optional[str] = ..., precision: _Optional[str] = ...) -> None: ...
