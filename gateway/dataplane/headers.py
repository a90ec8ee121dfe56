"""Which header fields pass, which the gateway writes: one place for both directions (`docs/rules.md` lists them)."""

import math
from collections.abc import Sequence

from gateway.domain.admission import Decision, Gauge
from gateway.domain.buckets import Kind
from gateway.domain.errors import Refusal
from gateway.domain.upstreams import Fields, Headers

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
_KEPT_BACK = _NOT_DOWN | {b"content-length"}  # which whoever sends the reply knows better
_LIMITS = b"x-ratelimit-"  # theirs tell of the operator's account, whatever they count
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code != ord("\t"))  # in no field's value (RFC 9110, section 5.5)
_OF_NO_NAME = (None, b"keep-alive", b"Keep-Alive", b"close")  # connection options that name no field
_OF_REQUESTS = (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests")
_OF_TOKENS = (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens")
_OURS_UP: Headers = [(b"content-type", b"application/json"), (b"accept-encoding", b"identity")]


def _dropped(headers: Headers, fields: Fields, always: frozenset[bytes]) -> frozenset[bytes]:
    """The names that do not pass: those of `always`, and those that the message's own Connection fields declare to be for one hop
    only."""
    if fields.get(b"connection") in _OF_NO_NAME and len(fields) == len(headers):
        return always
    named = (name.strip().lower() for field, value in headers if field == b"connection" for name in value.split(b","))
    return always.union(named)


def upward(headers: Headers, fields: Fields) -> Headers:
    """What goes to the upstream, but for its credential, which the upstream's client adds.

    A field that repeats the caller's key is dropped, whatever its name. White space around a value is no part of it (RFC 9110,
    section 5.5), and some parsers leave what stands behind it.
    """
    dropped = _dropped(headers, fields, _NOT_UP)
    kept = [field for field in headers if field[0] not in dropped]
    if not _is_plain(headers, fields):
        keys = [value.split()[-1] for name, value in headers if name == b"authorization" and value.strip()]
        stripped = [(name, value.strip(b" \t")) for name, value in kept]
        kept = [field for field in stripped if not any(key in field[1] for key in keys)]
    kept += _OURS_UP
    return kept


def _is_plain(headers: Headers, fields: Fields) -> bool:
    """Whether no name is there twice, no value has white space around it, and the key stands in its field alone, as mostly."""
    if len(fields) != len(headers):
        return False
    every = b"\n%s\n" % b"\n".join(fields.values())
    if b" \n" in every or b"\n " in every or b"\t\n" in every or b"\n\t" in every:
        return False
    return every.count(fields.get(b"authorization", b"").rpartition(b" ")[2]) == 1


def downward(headers: Headers, fields: Fields) -> Headers:
    """What of an upstream's reply goes to the client, but for its length. A value that HTTP forbids cannot be sent."""
    dropped = _dropped(headers, fields, _KEPT_BACK)
    kept = [field for field in headers if field[0] not in dropped]
    if _LIMITS in b"\n".join(fields):
        kept = [field for field in kept if not field[0].startswith(_LIMITS)]
    every = b"".join(fields.values()) if len(fields) == len(headers) else b"".join([value for _, value in kept])
    if len(every.translate(None, _CONTROLS)) == len(every):
        return kept
    return [field for field in kept if len(field[1].translate(None, _CONTROLS)) == len(field[1])]


def rate_limit(gauges: Sequence[Gauge]) -> Headers:
    """`x-ratelimit-*` as OpenAI's API reference names them: for each kind the level with the fewest remaining."""
    requests = tokens = None
    for gauge in gauges:
        if gauge.claim.kind is Kind.REQUESTS:
            if requests is None or gauge.remaining < requests.remaining:
                requests = gauge
        elif tokens is None or gauge.remaining < tokens.remaining:
            tokens = gauge
    headers: Headers = []
    for lowest, (limit, remaining, reset) in ((requests, _OF_REQUESTS), (tokens, _OF_TOKENS)):
        if lowest is not None:
            headers += (
                (limit, b"%d" % lowest.claim.limit),
                (remaining, b"%d" % lowest.remaining),
                (reset, duration(lowest.reset_us)),
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


def patience(fields: Fields) -> float:
    """Seconds that the client is ready to wait instead of a 429 (`X-DashScope-Wait-Timeout`); 0 for none, or for nonsense."""
    value = fields.get(b"x-dashscope-wait-timeout")
    try:
        seconds = float(value) if value else 0.0
    except ValueError:
        return 0.0
    return seconds if 0 < seconds < math.inf else 0.0
