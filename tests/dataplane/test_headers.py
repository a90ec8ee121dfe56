"""Which header fields pass, and what the gateway writes."""

import pytest

from gateway.dataplane.headers import downward, duration, patience, rate_limit, refusal, upward
from gateway.domain.admission import Answer, Decision, Gauge
from gateway.domain.buckets import Claim, Kind, Level
from gateway.domain.errors import InvalidKey, LimitRequests, MethodNotAllowed
from gateway.domain.upstreams import Headers

_OURS = [(b"content-type", b"application/json"), (b"accept-encoding", b"identity")]
_HOPS = [
    b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
]  # fmt: skip


def up(headers: Headers) -> Headers:
    return upward(headers, dict(headers))


def down(headers: Headers) -> Headers:
    return downward(headers, dict(headers))


@pytest.mark.parametrize(
    "name",
    [
        *_HOPS,
        b"authorization", b"cookie", b"x-api-key", b"api-key", b"openai-organization", b"openai-project", b"host",
        b"content-length", b"content-type", b"content-encoding", b"accept-encoding", b"expect", b"forwarded", b"via",
        b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"x-dashscope-wait-timeout",
        b"x-request-id",
    ],
)  # fmt: skip
def test_what_never_goes_up(name: bytes) -> None:
    """Credentials, hop-by-hop fields and what the gateway writes itself do not reach an upstream from a client."""
    assert up([(name, b"secret"), (b"x-a", b"1")]) == [(b"x-a", b"1"), *_OURS]


@pytest.mark.parametrize(
    "name",
    [
        *_HOPS,
        b"set-cookie", b"www-authenticate", b"server", b"date", b"alt-svc", b"strict-transport-security", b"x-request-id",
        b"openai-organization", b"openai-project", b"x-ratelimit-limit-requests", b"x-ratelimit-limit-tokens",
        b"x-ratelimit-remaining-requests", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-requests",
        b"x-ratelimit-reset-tokens", b"x-ratelimit-limit-project-tokens",
    ],
)  # fmt: skip
def test_what_never_comes_down(name: bytes) -> None:
    """What tells of the operator's account at an upstream, or what the gateway says itself, does not reach a client."""
    assert down([(name, b"x"), (b"x-a", b"1")]) == [(b"x-a", b"1")]


def test_the_caller_s_key_goes_up_in_no_field() -> None:
    """Clients that send their key in several fields at once do not hand it to the upstream in any of them."""
    given = [
        (b"x-goog-api-key", b"sk-1"),
        (b"authorization", b"Bearer  sk-1 "),
        (b"x-auth", b"Token sk-1;v=2"),
        (b"x-a", b"sk-2"),
    ]
    assert up(given) == [(b"x-a", b"sk-2"), *_OURS]


def test_the_caller_s_key_goes_up_in_no_field_of_a_plain_request() -> None:
    """So it is where nothing else of the request is out of the ordinary."""
    given = [(b"authorization", b"Bearer sk-1"), (b"x-auth", b"Token sk-1;v=2"), (b"x-a", b"sk-2")]
    assert up(given) == [(b"x-a", b"sk-2"), *_OURS]


def test_white_space_around_a_value_does_not_go_up() -> None:
    """It is no part of the value, and a client library that is strict about it would refuse to send the request at all."""
    assert up([(b"x-a", b"1 \t"), (b"x-b", b" \xff 2 "), (b"x-c", b"")])[:3] == [
        (b"x-a", b"1"),
        (b"x-b", b"\xff 2"),
        (b"x-c", b""),
    ]


@pytest.mark.parametrize("code", [0x00, 0x01, 0x0A, 0x0D, 0x1F, 0x7F])
def test_a_value_that_cannot_be_sent_does_not_come_down(code: int) -> None:
    """One bad field of an upstream costs that field, not the reply."""
    assert down([(b"x-bad", b"a" + bytes((code,)) + b"b"), (b"x-a", b"\t\x80")]) == [(b"x-a", b"\t\x80")]


def test_a_length_beside_a_transfer_coding_does_not_come_down() -> None:
    """Such a length counts for nothing (RFC 9112, section 6.3); passed on it would be the client's framing."""
    assert down([(b"content-length", b"7"), (b"transfer-encoding", b"chunked"), (b"x-a", b"1")]) == [(b"x-a", b"1")]


@pytest.mark.parametrize("way", [up, down])
def test_unknown_fields_pass_in_order_with_their_duplicates(way: object) -> None:
    """Fields that the gateway does not know pass both ways, in order, repeated ones repeated, values byte for byte."""
    headers: Headers = [(b"x-b", b"2"), (b"x-a", b"\xff \t;="), (b"x-b", b"1"), (b"x-b", b"2"), (b"x-dashscope-async", b"enable")]
    passed = up(headers)[: -len(_OURS)] if way is up else down(headers)
    assert passed == headers


def test_fields_that_connection_names_are_for_one_hop() -> None:
    """A field named by any of a message's Connection fields goes no further, whatever its case (RFC 9110, section 7.6.1)."""
    headers: Headers = [
        (b"connection", b"Close, X-One"), (b"x-one", b"1"), (b"connection", b" x-two ,"), (b"x-two", b"2"), (b"x-three", b"3")
    ]  # fmt: skip
    assert down(headers) == [(b"x-three", b"3")]
    assert up(headers) == [(b"x-three", b"3"), *_OURS]


def test_the_gateway_s_own_fields_outlast_a_connection_field_that_names_them() -> None:
    """A client cannot strip what the gateway itself says to the upstream."""
    assert up([(b"connection", b"content-type, accept-encoding")]) == _OURS


@pytest.mark.parametrize(
    ("us", "shown"),
    [
        (0, b"0ms"),
        (1, b"1ms"),
        (12_000, b"12ms"),
        (999_000, b"999ms"),
        (999_001, b"1s"),
        (1_000_000, b"1s"),
        (1_500_000, b"1.5s"),
        (1_050_000, b"1.05s"),
        (10_000_000, b"10s"),
        (59_999_001, b"1m0s"),
        (60_000_000, b"1m0s"),
        (61_500_000, b"1m1.5s"),
        (360_000_000, b"6m0s"),
        (7_200_000_000, b"120m0s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(us: int, shown: bytes) -> None:
    """A duration is rounded up to the millisecond and never reads as shorter than it is."""
    assert duration(us) == shown


def _gauge(level: Level, kind: Kind, limit: int, remaining: int, reset_us: int) -> Gauge:
    return Gauge(Claim(level, kind, "o", "m", limit, limit, 1), remaining, reset_us)


_GAUGES = (
    _gauge(Level.WORKSPACE, Kind.REQUESTS, 10, 5, 1000),
    _gauge(Level.WORKSPACE, Kind.TOKENS, 100, 9, 2000),
    _gauge(Level.ACCOUNT, Kind.REQUESTS, 20, 4, 3000),
    _gauge(Level.ACCOUNT, Kind.TOKENS, 200, 10, 4000),
)
_SHOWN = [
    (b"x-ratelimit-limit-requests", b"20"),
    (b"x-ratelimit-remaining-requests", b"4"),
    (b"x-ratelimit-reset-requests", b"3ms"),
    (b"x-ratelimit-limit-tokens", b"100"),
    (b"x-ratelimit-remaining-tokens", b"9"),
    (b"x-ratelimit-reset-tokens", b"2ms"),
]


def test_rate_limit_shows_the_level_with_the_fewest_left() -> None:
    """Each kind shows, all from one level, the bucket that will run dry first; a kind without limits shows nothing."""
    assert rate_limit(_GAUGES) == _SHOWN
    assert rate_limit(_GAUGES[:1] + _GAUGES[2:3]) == _SHOWN[:3]
    assert rate_limit(()) == []


def test_a_refusal_tells_how_long_to_wait_in_both_forms() -> None:
    """`retry-after` is whole seconds, never less than the wait; limits are shown on a 429 only."""
    decision = Decision(Answer.REFUSED, _GAUGES)
    waits = [(b"retry-after", b"2"), (b"retry-after-ms", b"1001")]
    assert refusal(LimitRequests(retry_after_ms=1001), decision) == [*waits, *_SHOWN]
    assert refusal(LimitRequests(retry_after_ms=1001), None) == waits
    assert refusal(InvalidKey(), decision) == []
    assert refusal(MethodNotAllowed("GET", "POST"), None) == [(b"allow", b"POST")]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"3", 3.0), (b" 2.5 ", 2.5), (b"0", 0.0), (b"-1", 0.0), (b"", 0.0), (b"soon", 0.0), (b"nan", 0.0), (b"inf", 0.0),
        (b"\xff", 0.0), (b"1e999", 0.0),
    ],
)  # fmt: skip
def test_patience(value: bytes, seconds: float) -> None:
    """The wait that a client asks for is its number of seconds; nonsense asks for none."""
    assert patience({b"x-dashscope-wait-timeout": value}) == seconds
    assert patience({}) == 0.0
