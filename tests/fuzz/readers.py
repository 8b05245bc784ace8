"""What reads settings, files and other people's answers, fed with bytes: a typed error or a sound value, nothing else.

Each target takes bytes, gives them as they are and once more as the file, line or value that they choose, and raises
where a claim is broken.
"""

from __future__ import annotations

import functools
import math
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.choices import Choices, message
from rescorer import hedge
from rescorer.config import CHECKS, parse
from rescorer.credentials import VARIABLES, Credentials, from_environment
from rescorer.dropin import Sidecar
from rescorer.errors import InvalidSetting, ScorerError
from rescorer.scorers import answers, channels, wire
from rescorer.scorers.grpc import GrpcScorer
from rescorer_proto.v1 import rescorer_pb2
from rescorer_sidecar import config, masking, security, shared_links, tokens
from rescorer_sidecar.callers import MOST_CHARACTERS, caller_of
from rescorer_sidecar.domain import PairScore
from rescorer_sidecar.errors import ConfigError, NotLetIn, WrongDoor
from rescorer_sidecar.marks import REQUEST_ID_KEY, TRACE_KEY, mark_of
from rescorer_sidecar.shared_entries import ENTRY_BYTES, Sealer

PASSWORD = "qzjpassword"
SETTINGS = tuple(config.KNOWN)
VALUES = (
    f"1{'0' * 400} 9999 "
    "0 1 -1 true false nan inf 1e309 65536 50051 0x10 1_000 ٣ auto cpu native json a,b [] localhost 0.0.0.0 ::1 [::1] "
    f"redis://u:{PASSWORD}@h:6379/0 redis://:{PASSWORD}@[::1 rediss://h?ssl_ca_certs=x&p={PASSWORD} unix:x {PASSWORD}"
).split()
ADDRESSES = (
    "a:1",
    "localhost:50051",
    "[::1]:2",
    "dns:///a:1",
    "unix:/x",
    "a:0",
    "a:99999",
    ":1",
    "a:٣",
    "a:²",
    f"a:{'9' * 5000}",
    ",",
)


HASH = "0123456789abcdef" * 4
TOKEN_LINES = (
    *(f"{name} = {value}" for name in ("hash", "key", "doors") for value in (f'"{HASH}"', '"shop"', "[]", "7")),
    *(f"{name} = {value}" for name in ("pairs_per_s", "tokens_per_s") for value in ("1", "nan", "-1", "'x'", "1e400")),
    'name = "shop"',
    'doors = ["score", "admin"]',
    f"pairs_per_s = 1{'0' * 400}",
)
UNREADABLE = (f"key = {'9' * 5000}", f"key = {'[' * 5000}", "key = '\ud800'")


@dataclass(frozen=True)
class _Kept:
    """A file's tokens as the sidecar keeps them."""

    value: tokens.Tokens

    def current(self) -> tokens.Tokens:
        return self.value


GUARDED = security.Security(
    tokens=_Kept(tokens.parsed(f'key = "{HASH}"' + tokens.entry("shop", ["score"], "secret", bytes.fromhex(HASH)), ""))
)


@functools.cache
def folder() -> Path:
    """Where the files of this process's inputs are written."""
    return Path(tempfile.mkdtemp())


def _checked(condition: bool, claim: str) -> None:
    if not condition:
        raise AssertionError(claim)


def sidecar_settings(raw: bytes) -> None:
    """Bytes as the sidecar's settings file, command line and environment: settings, or an error without a secret."""
    choices = Choices(raw)
    file = folder() / "sidecar.toml"
    flags = [f"--{choices.text(SETTINGS).replace('_', '-')}={choices.text(VALUES)}" for _ in range(choices.whole(3))]
    named = {f"{config.PREFIX}{choices.text(SETTINGS).upper()}": choices.text(VALUES) for _ in range(choices.whole(3))}
    table = "\n".join(f"{choices.of(SETTINGS)} = {_toml(choices)}" for _ in range(choices.whole(4)))
    odd = choices.of(UNREADABLE).replace("key", "port")
    files = [raw, table.encode("utf-8", "replace"), odd.encode("utf-8", "replace")]
    for content, arguments in (*((one, []) for one in files), (b"", flags), (b"", [choices.text(VALUES)])):
        file.write_bytes(content)
        try:
            found = config.from_command_line(["--model=m", f"--config={file}", *arguments], named)
        except ConfigError as error:
            _checked(PASSWORD not in str(error) or _is_told_on_purpose(error), f"a password stands in: {error}")
        else:
            _usable(found)


def _is_told_on_purpose(error: ConfigError) -> bool:
    """Whether the password was given to a setting that holds none."""
    return not re.search(rf"(?<![a-z])({'|'.join(masking.MASKS)})(?![a-z_])", str(error).replace("-", "_"))


def _toml(choices: Choices) -> str:
    return choices.of(('"%s"', "%s", "['%s', 3]", "'''%s'''", "{a = '%s'}")) % choices.text(VALUES)


def _usable(found: config.Settings) -> None:
    """What the sidecar does with settings before it loads a model."""
    _checked(found.max_message_mb << 20 < 2**31, "a message size that gRPC does not take")
    _checked(PASSWORD not in config.shown(found) or PASSWORD in _open_values(found), "the first line shows a password")
    security.is_loopback(found.admin_host)
    try:
        shared_links.checked(found.shared_cache or "redis://h")
    except ConfigError as error:
        _checked(PASSWORD not in str(error), f"a password stands in: {error}")


def _open_values(found: config.Settings) -> str:
    return " ".join(str(getattr(found, name)) for name in SETTINGS if name not in masking.MASKS)


def tokens_files(raw: bytes) -> None:
    """Bytes as the file of tokens, and as what a call shows: tokens, or an error without a hash; nobody gets in."""
    choices = Choices(raw)
    lines = [choices.of(("[[token]]", "[quota.shop]", *TOKEN_LINES)) for _ in range(choices.whole(12))]
    for text in (raw.decode("utf-8", "replace"), "\n".join([f'key = "{HASH}"', *lines]), choices.of(UNREADABLE)):
        try:
            found = tokens.parsed(text, "tokens_file")
        except ConfigError as error:
            _checked(HASH not in str(error), f"a hash stands in: {error}")
        else:
            _checked(len(found.key) == 32 and bool(found.entries), f"no tokens: {found}")
    shown = [raw.decode("latin-1"), choices.text(("Bearer", "bearer", "Basic", f"Bearer {HASH}"))]
    for authorizations in (shown[:1], shown[1:], shown, [f"Bearer {shown[0]}"]):
        try:
            name = GUARDED.proved("score", authorizations)
        except (NotLetIn, WrongDoor):
            continue
        raise AssertionError(f"{authorizations} let {name!r} in")


def client_credentials(raw: bytes) -> None:
    """Bytes as what a client proves itself with, by argument and variable: a value, or an error without the token."""
    choices = Choices(raw)
    fields = {name: choices.text((PASSWORD, "ca.pem", "system")) for name in VARIABLES if choices.whole(1)}
    for read, given in (
        (lambda found: Credentials(**found), {**fields, "insecure": bool(choices.whole(1))}),
        (from_environment, {VARIABLES[name]: value for name, value in fields.items()}),
    ):
        try:
            _checked(f"token='{PASSWORD}" not in repr(read(given)), "a client shows its token")
        except InvalidSetting as error:
            _checked(PASSWORD not in str(error), f"a token stands in: {error}")


def client_settings(raw: bytes) -> None:
    """Bytes as what the client's constructor and ``rescore`` take: a value, or an error that names the setting."""
    choices = Choices(raw)
    texts = (raw.decode("utf-8", "replace"), choices.text(ADDRESSES), choices.text(VALUES))
    odd = (None, True, 0, -1, 10**400, math.nan, math.inf, b"", [], {}, "p95", [None], object())
    for value in (*texts, list(texts), choices.of(odd)):
        for read in (_sidecar, channels.said_by, hedge.checked, *map(_setting, CHECKS)):
            _typed(read, value)


def _sidecar(value: Any) -> None:
    Sidecar(value, None, (), None, 60.0).wired(GrpcScorer)


def _setting(name: str) -> Callable[[Any], Any]:
    return lambda value: parse({name: value}, "rescore")


def _typed(read: Callable[[Any], Any], value: Any) -> None:
    try:
        read(value)
    except InvalidSetting as error:
        _checked(bool(error.path) and "\n" not in str(error), f"an error of several lines: {error}")


def call_marks(raw: bytes) -> None:
    """Bytes as a call's metadata: names of bounded length, in an alphabet that a log line may hold."""
    choices = Choices(raw)
    for text in (
        raw.decode("utf-8", "replace"),
        choices.text(("ipv4:127.0.0.1:1", "ipv6:%5B::1%5D:2", "unix:", "shop-42")),
    ):
        mark = mark_of({REQUEST_ID_KEY: text, TRACE_KEY: text})
        _checked(0 < len(mark.request_id) <= 64 and mark.request_id.isprintable(), f"a request id {mark.request_id!r}")
        for call in (_Call(text, "unix:"), _Call("", text)):
            name = caller_of(call)
            _checked(0 < len(name) <= MOST_CHARACTERS and name.isprintable(), f"a caller {name!r}")


class _Call:
    """A gRPC call as far as its caller's name is read from it."""

    def __init__(self, said: str, peer: str) -> None:
        self._said, self._peer = said, peer

    def invocation_metadata(self) -> object:
        return (("rescorer-caller", self._said),)

    def peer(self) -> str:
        return self._peer


def cache_entries(raw: bytes) -> None:
    """Bytes as an entry of the shared cache: no score, unless they were sealed for this very pair with this secret."""
    choices = Choices(raw)
    key, other = b"k" + raw[:40], b"o" + raw[:40]
    ours, theirs = Sealer("ours"), Sealer("theirs")
    score = PairScore(logit=float(choices.whole(200) - 100), token_count=choices.whole(255), truncated=False)
    sealed = ours.packed(key, score)
    _checked(sealed is not None and ours.unpacked(key, sealed) == score, "a sealed score does not come back")
    place, change = choices.whole(ENTRY_BYTES - 1), 1 + choices.whole(254)
    spoilt = bytes(byte ^ change if at == place else byte for at, byte in enumerate(sealed or b""))
    foreign = (
        theirs.packed(key, score),
        ours.packed(other, score),
        spoilt,
        (sealed or b"")[:place],
        raw,
        raw[:ENTRY_BYTES],
    )
    for entry in foreign:
        _checked(ours.unpacked(key, entry) is None, f"a score out of {entry!r}")


def sidecar_answers(raw: bytes) -> None:
    """Bytes as a sidecar's answer: scores that fit what was asked, or an error that counts against the sidecar."""
    choices, words = Choices(raw), ("a", "b", "c", "fake")
    asked = rescorer_pb2.ScoreRequest(candidates=[rescorer_pb2.Candidate(id=name, text="x") for name in "abc"])
    part = wire.Part(0, 3, asked)
    one, many = rescorer_pb2.ScoreResponse, rescorer_pb2.ScoreManyResponse
    for sent in (raw, message(one, choices, words).SerializeToString()):
        for found in _or_none(lambda sent=sent: [answers.scores(part, sent, "a:1")]):
            _fits(found)
    for sent in (raw, message(many, choices, words).SerializeToString()):
        for found in _or_none(lambda sent=sent: answers.outcomes([asked] * 2, sent, "a:1")):
            if not isinstance(found, ScorerError):
                _fits(found)
    for sent in (raw, message(rescorer_pb2.EmbedResponse, choices, words).SerializeToString()):
        found = list(_or_none(lambda sent=sent: answers.vectors(2, sent, "a:1")))
        _checked(all(math.isfinite(value) for vector in found for value in vector), "a vector that is none")


def _or_none(read: Callable[[], Iterable[Any]]) -> Iterable[Any]:
    try:
        return read()
    except ScorerError:
        return ()


def _fits(found: Any) -> None:
    _checked(all("abc"[entry.index] == entry.id for entry in found.results), "a score of another candidate")
    _checked(len({entry.index for entry in found.results}) == len(found.results), "a candidate was scored twice")
    _checked(all(math.isfinite(entry.score + entry.logit) for entry in found.results), "a score that is no number")


TARGETS: tuple[Callable[[bytes], None], ...] = (
    sidecar_settings,
    client_settings,
    client_credentials,
    call_marks,
    cache_entries,
    sidecar_answers,
    tokens_files,
)
