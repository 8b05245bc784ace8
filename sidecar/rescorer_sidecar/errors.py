"""Every error of the sidecar; ``grpc_server`` holds the one table from these to gRPC codes."""

from __future__ import annotations

from collections.abc import Sequence

STOPPING = "the sidecar is stopping; ask another one, or try again"


def short(text: str, most: int = 100) -> str:
    """A caller's own word, cut so that a message that repeats it fits into a gRPC trailer."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


class SidecarError(Exception):
    """Root of this package's errors."""


class ConfigError(SidecarError):
    """A setting, a model folder or an address is wrong; the message is one line that says what mends it."""


class MissingExtra(ConfigError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'rescorer[{extra}]'")


class NoCompiler(ConfigError):
    """There is no C compiler here, and no library that was compiled before."""

    def __init__(self, why: str) -> None:
        super().__init__(f"backend native needs a C compiler: {why}; run apt-get install gcc, or use --backend torch")


class ModelNotFound(ConfigError):
    """A model's name leads to no folder, and no hub gives it."""


class BadCheckpoint(ConfigError):
    """A file of a model's folder is missing, broken, or not of the same model as the others."""

    def __init__(self, path: object, wrong: str, mend: str) -> None:
        self.path = path
        super().__init__(f"{path} {wrong}; {mend}")


class UnsupportedModel(ConfigError):
    """A model's files are whole, but it is of a kind that is not served; the message names the kind."""


class TooLarge(ConfigError):
    """A model does not fit into the memory that is left; nothing of it was loaded."""

    def __init__(self, source: str, needed_bytes: int, free_bytes: int, *, is_set: bool) -> None:
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        where = "of memory_mb are left" if is_set else "are free here"
        mend = "raise memory_mb, " if is_set else ""
        super().__init__(
            f"model {source} takes about {needed_bytes / 1e6:,.0f} MB and {free_bytes / 1e6:,.0f} MB {where}; "
            f"{mend}serve fewer models, choose a smaller one, or a narrower --precision"
        )


class InvalidRequest(SidecarError):
    """The request can't be answered as it is; each violation is (field path, what is wrong and how to mend it)."""

    def __init__(self, *violations: tuple[str, str]) -> None:
        self.violations = violations
        super().__init__("; ".join(f"{field}: {wrong}" for field, wrong in violations))


class TooMany(InvalidRequest):
    """A request holds more of something than it may; ``most`` is how many, so that the caller can send it in parts."""

    def __init__(self, field: str, count: int, most: int) -> None:
        self.most = most
        super().__init__((field, f"holds {count} and may hold {most}; send them in parts"))


class TooManyTokens(TooMany):
    """A request's texts are longer together than one may hold; ``most`` is how many of them fit, the first ones."""

    def __init__(self, field: str, tokens: int, most_tokens: int, most: int) -> None:
        InvalidRequest.__init__(
            self, (field, f"hold about {tokens} tokens together and may hold {most_tokens}; send them in parts")
        )
        self.most = most


class UnknownModel(SidecarError):
    """The request names a model that is not served here. kind: the model's, ``known``: the served ones of it."""

    def __init__(self, name: str, kind: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        option = "--embedder" if kind == "embedder" else "--model"
        served = ", ".join(known) or f"no {kind}; start the sidecar with {option}"
        super().__init__(f"model: {name!r} is not served here; served: {served}")


class NotReady(SidecarError):
    """The models are not loaded and warm yet, or the server is draining."""


class NotLetIn(SidecarError):
    """A call proves nobody: it shows no token that is known here, or no certificate; ``reason`` is our word for it."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class WrongDoor(SidecarError):
    """A call proves who asks, but that one's token is not for this door."""

    def __init__(self, name: str, door: str) -> None:
        self.reason = "wrong_door"
        super().__init__(f"the token of {name} does not open this door; doors in the tokens file must name {door!r}")


class ModelDied(NotReady):
    """The model fails on what it has answered before, and is loaded again."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"the model has died ({cause}) and is being loaded again; ask another sidecar, or try again in some seconds"
        )


class ForwardHung(TimeoutError):
    """A forward has not come back in ``hung_s`` seconds."""

    def __init__(self, hung_s: float) -> None:
        super().__init__(f"a forward has not come back in {hung_s:g} s")


class CannotSwap(SidecarError):
    """A model can't be swapped or rolled back as things stand; nothing has changed."""


class Overloaded(SidecarError):
    """There is no room for the request, or no time; ``retry_after_s`` is when it makes sense to ask again."""

    def __init__(self, why: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(why)


class DeadlineExceeded(SidecarError):
    """The call's deadline passed before anything was scored."""


class BackendFailed(SidecarError):
    """The model failed on every pair of the request."""
