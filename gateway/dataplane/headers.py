"""Which header fields pass, which the gateway writes: one place for both directions (`docs/rules.md` lists them)."""

import math
import re
from collections.abc import Iterable, Sequence

from gateway.domain.admission import Decision, Gauge
from gateway.domain.buckets import Kind
from gateway.domain.errors import Refusal
from gateway.domain.upstreams import Headers

# RFC 9110, section 7.6.1, with the older names that a hop may still speak.
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# Of the client's: credentials never go up; length, type and encoding are the gateway's own on the next hop.
_NOT_UP = _HOP_BY_HOP | {
    b"authorization",
    b"cookie",
    b"x-api-key",
    b"api-key",
    b"openai-organization",
    b"openai-project",
    b"host",
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"accept-encoding",
    b"expect",
    b"forwarded",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-real-ip",
    b"x-dashscope-wait-timeout",
    b"x-request-id",
}
# Of the upstream's: what tells of our account there, or what the gateway says itself.
_NOT_DOWN = _HOP_BY_HOP | {
    b"set-cookie",
    b"www-authenticate",
    b"server",
    b"date",
    b"alt-svc",
    b"strict-transport-security",
    b"x-request-id",
    b"openai-organization",
    b"openai-project",
}
_LIMITS = b"x-ratelimit-"  # theirs tell of the operator's account, whatever they count
_UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # in a field's value (RFC 9110, section 5.5)
_OURS_UP: Headers = [(b"content-type", b"application/json"), (b"accept-encoding", b"identity")]


def _named(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The names that a message's own Connection fields declare to be for one hop only."""
    return frozenset(name.strip().lower() for field, value in headers if field == b"connection" for name in value.split(b","))


def upward(headers: Headers) -> Headers:
    """What goes to the upstream, but for its credential, which the upstream's client adds.

    A field that repeats the caller's key is dropped, whatever its name. White space around a value is no part of it (RFC 9110,
    section 5.5), and some parsers leave what stands behind it.
    """
    dropped = _NOT_UP | _named(headers)
    keys = [value.split()[-1] for name, value in headers if name == b"authorization" and value.strip()]
    kept = [(name, value.strip(b" \t")) for name, value in headers if name not in dropped]
    return [*(field for field in kept if not any(key in field[1] for key in keys)), *_OURS_UP]


def downward(headers: Headers) -> Headers:
    """What of an upstream's reply goes to the client.

    A length beside a transfer coding does not count (RFC 9112, section 6.3), and a value that HTTP forbids cannot be sent.
    """
    dropped = _NOT_DOWN | _named(headers)
    if first(headers, b"transfer-encoding") is not None:
        dropped |= {b"content-length"}
    return [
        (name, value)
        for name, value in headers
        if name not in dropped and not name.startswith(_LIMITS) and _UNSENDABLE.search(value) is None
    ]


def rate_limit(gauges: Sequence[Gauge]) -> Headers:
    """`x-ratelimit-*` as OpenAI's API reference names them: for each kind the level with the fewest remaining."""
    headers: Headers = []
    for kind, name in ((Kind.REQUESTS, b"requests"), (Kind.TOKENS, b"tokens")):
        lowest = min((gauge for gauge in gauges if gauge.claim.kind is kind), key=lambda gauge: gauge.remaining, default=None)
        if lowest is not None:
            headers += (
                (b"x-ratelimit-limit-" + name, b"%d" % lowest.claim.limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % lowest.remaining),
                (b"x-ratelimit-reset-" + name, duration(lowest.reset_us)),
            )
    return headers


def duration(us: int) -> bytes:
    """A duration as OpenAI's headers write it: `12ms`, `1.5s`, `6m0s`; rounded up to the millisecond."""
    ms = -(-us // 1000)
    if ms < 1000:  # noqa: PLR2004 — a second in milliseconds
        return b"%dms" % ms
    minutes, ms = divmod(ms, 60_000)
    seconds, ms = divmod(ms, 1000)
    shown = b"%d" % seconds if ms == 0 else b"%d.%03d" % (seconds, ms)
    shown = shown.rstrip(b"0") if ms else shown
    return b"%dm%ss" % (minutes, shown) if minutes else shown + b"s"


def refusal(refused: Refusal, decision: Decision | None) -> Headers:
    """What a refusal adds: how long to wait, in both forms that OpenAI's SDKs read, and the limits it met."""
    headers: Headers = list(refused.headers)
    if refused.retry_after_ms is not None:
        headers += (
            (b"retry-after", b"%d" % -(-refused.retry_after_ms // 1000)),
            (b"retry-after-ms", b"%d" % refused.retry_after_ms),
        )
    if decision is not None and refused.status == 429:  # noqa: PLR2004 — Too Many Requests
        headers += rate_limit(decision.gauges)
    return headers


def first(headers: Headers, name: bytes) -> bytes | None:
    return next((value for field, value in headers if field == name), None)


def patience(headers: Headers) -> float:
    """Seconds that the client is ready to wait instead of a 429 (`X-DashScope-Wait-Timeout`); 0 for none, or for nonsense."""
    value = first(headers, b"x-dashscope-wait-timeout")
    try:
        seconds = float(value) if value else 0.0
    except ValueError:
        return 0.0
    return seconds if 0 < seconds < math.inf else 0.0
