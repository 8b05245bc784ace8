from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Step(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_UNSPECIFIED: _ClassVar[Step]
    STEP_LOADING: _ClassVar[Step]
    STEP_CHECKING: _ClassVar[Step]
    STEP_SHADOWING: _ClassVar[Step]
    STEP_SWITCHED: _ClassVar[Step]
    STEP_REFUSED: _ClassVar[Step]
STEP_UNSPECIFIED: Step
STEP_LOADING: Step
STEP_CHECKING: Step
STEP_SHADOWING: Step
STEP_SWITCHED: Step
STEP_REFUSED: Step

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("models", "swap", "switched", "refused", "rolled_back")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SWAP_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    ROLLED_BACK_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    swap: SwapProgress
    switched: int
    refused: int
    rolled_back: int
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., swap: _Optional[_Union[SwapProgress, _Mapping]] = ..., switched: _Optional[int] = ..., refused: _Optional[int] = ..., rolled_back: _Optional[int] = ...) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ("name", "kind", "is_default", "serving", "kept", "kept_for_s", "waiting")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    KEPT_FOR_S_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    is_default: bool
    serving: Version
    kept: Version
    kept_for_s: float
    waiting: int
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., is_default: bool = ..., serving: _Optional[_Union[Version, _Mapping]] = ..., kept: _Optional[_Union[Version, _Mapping]] = ..., kept_for_s: _Optional[float] = ..., waiting: _Optional[int] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("source", "digest", "backend", "device", "precision", "max_tokens", "memory_bytes")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    source: str
    digest: str
    backend: str
    device: str
    precision: str
    max_tokens: int
    memory_bytes: int
    def __init__(self, source: _Optional[str] = ..., digest: _Optional[str] = ..., backend: _Optional[str] = ..., device: _Optional[str] = ..., precision: _Optional[str] = ..., max_tokens: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class SwapRequest(_message.Message):
    __slots__ = ("source", "model", "shadow_requests", "shadow_share", "within_s", "bounds", "force")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SHADOW_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_SHARE_FIELD_NUMBER: _ClassVar[int]
    WITHIN_S_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    source: str
    model: str
    shadow_requests: int
    shadow_share: float
    within_s: float
    bounds: Bounds
    force: bool
    def __init__(self, source: _Optional[str] = ..., model: _Optional[str] = ..., shadow_requests: _Optional[int] = ..., shadow_share: _Optional[float] = ..., within_s: _Optional[float] = ..., bounds: _Optional[_Union[Bounds, _Mapping]] = ..., force: bool = ...) -> None: ...

class Bounds(_message.Message):
    __slots__ = ("rank_correlation", "distance", "shift")
    RANK_CORRELATION_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    rank_correlation: float
    distance: float
    shift: float
    def __init__(self, rank_correlation: _Optional[float] = ..., distance: _Optional[float] = ..., shift: _Optional[float] = ...) -> None: ...

class SwapProgress(_message.Message):
    __slots__ = ("model", "step", "source", "old", "new", "golden", "compared", "shadow_requests", "comparison", "objections", "reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    SHADOW_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    OBJECTIONS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    step: Step
    source: str
    old: Version
    new: Version
    golden: Golden
    compared: int
    shadow_requests: int
    comparison: Comparison
    objections: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, model: _Optional[str] = ..., step: _Optional[_Union[Step, str]] = ..., source: _Optional[str] = ..., old: _Optional[_Union[Version, _Mapping]] = ..., new: _Optional[_Union[Version, _Mapping]] = ..., golden: _Optional[_Union[Golden, _Mapping]] = ..., compared: _Optional[int] = ..., shadow_requests: _Optional[int] = ..., comparison: _Optional[_Union[Comparison, _Mapping]] = ..., objections: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Golden(_message.Message):
    __slots__ = ("queries", "old", "new")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    queries: int
    old: int
    new: int
    def __init__(self, queries: _Optional[int] = ..., old: _Optional[int] = ..., new: _Optional[int] = ...) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("requests", "pairs", "rank_correlation", "distance", "shift", "old_quantiles", "new_quantiles")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    RANK_CORRELATION_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    OLD_QUANTILES_FIELD_NUMBER: _ClassVar[int]
    NEW_QUANTILES_FIELD_NUMBER: _ClassVar[int]
    requests: int
    pairs: int
    rank_correlation: float
    distance: float
    shift: float
    old_quantiles: _containers.RepeatedScalarFieldContainer[float]
    new_quantiles: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, requests: _Optional[int] = ..., pairs: _Optional[int] = ..., rank_correlation: _Optional[float] = ..., distance: _Optional[float] = ..., shift: _Optional[float] = ..., old_quantiles: _Optional[_Iterable[float]] = ..., new_quantiles: _Optional[_Iterable[float]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("model", "was", "serving")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WAS_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    model: str
    was: Version
    serving: Version
    def __init__(self, model: _Optional[str] = ..., was: _Optional[_Union[Version, _Mapping]] = ..., serving: _Optional[_Union[Version, _Mapping]] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("model", "released")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    model: str
    released: Version
    def __init__(self, model: _Optional[str] = ..., released: _Optional[_Union[Version, _Mapping]] = ...) -> None: ...
