"""Nothing that is secret gets past the redactor, wherever it stands; and what is not secret stays legible."""

import json
import logging
import string
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.credentials import KeyKind, generate, mask
from gateway.domain.ids import call_id, key_id, workspace_id
from gateway.ops.logs import FIELDS, formatter
from gateway.ops.redact import REDACTOR, Redactor

PEPPER = b"a pepper"
AROUND = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
KEYS = st.builds(lambda kind: generate(kind, PEPPER).text, st.sampled_from(KeyKind))
# Secrets that are known by their shape, each with the text that it is to be gone from.
# The marks keep what stands around from being the same by chance.
TOKEN = st.text(string.ascii_letters + string.digits + "-._~+/", max_size=60).map(lambda text: f"Zq7{text}x8Q")
URLSAFE = st.text(string.ascii_letters + string.digits + "-_", min_size=39, max_size=39).map(lambda rest: f"aB3-{rest}")
SHAPED = st.one_of(
    KEYS.map(lambda key: (key, key)),
    TOKEN.map(lambda token: (token, f"Bearer {token}")),
    TOKEN.map(lambda token: (token, f"authorization: Basic {token}")),
    TOKEN.map(lambda token: (token, f"{{'x-api-key': '{token}'}}")),
    TOKEN.map(lambda token: (token, f"[(b'authorization', b'{token}')]")),
    TOKEN.map(lambda token: (token, f"password={token}")),
    TOKEN.map(lambda token: (token, f'{{"client_secret":"{token}"}}')),
    TOKEN.map(lambda token: (token, f"postgresql://gateway:{token}@db.example/name")),
    TOKEN.map(lambda token: (token, f"redis://:{token}@redis.example:6379/0")),
    URLSAFE.map(lambda secret: (secret, f"https://gateway.example/console/link/{secret}")),
    URLSAFE.map(lambda secret: (secret, f"gateway-session={secret}")),
    URLSAFE.map(lambda secret: (secret, f"__Host-gateway-session={secret}; Path=/")),
)


def raised(text: str) -> Any:
    """What `exc_info` is of an exception with that text, whose cause has it as well."""
    try:
        _raise(text)
    except ValueError:
        return sys.exc_info()


def _raise(text: str) -> None:
    try:
        dict[str, str]()[text]
    except KeyError as cause:
        raise ValueError(f"told: {text}") from cause


def record(message: object, *args: object, exc_info: Any = None, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("gateway.test", logging.ERROR, __file__, 1, message, args, exc_info)
    made.__dict__.update(fields)
    return made


PLACES: dict[str, Callable[[str], logging.LogRecord]] = {
    "message": record,
    "argument": lambda text: record("it said %s", text),
    "argument-repr": lambda text: record("it said %r", text),
    "argument-bytes": lambda text: record("it said %s", text.encode()),
    "argument-dict": lambda text: record("it said %(what)s", {"what": text}),
    "argument-nested": lambda text: record("it said %s", {"a": [1, ("b", text)]}),
    "exception": lambda text: record("failed", exc_info=raised(text)),
    "exception-as-message": lambda text: record(ValueError(text)),
    "field": lambda text: record("call", model=text),
    "field-bytes": lambda text: record("call", upstream=text.encode()),
    "field-nested": lambda text: record("call", code={"deep": [{"deeper": (text, b"x")}], text: 1}),
    "field-object": lambda text: record("call", outcome=ValueError(text)),
}


@pytest.mark.parametrize("pretty", [False, True], ids=["json", "pretty"])
@pytest.mark.parametrize("place", PLACES)
@given(before=AROUND, after=AROUND, shaped=SHAPED)
def test_no_place_in_a_line_shows_a_secret(place: str, pretty: bool, before: str, after: str, shaped: tuple[str, str]) -> None:
    """Whatever stands around it, a secret of a known shape is in no part of a log line, of ours or a library's."""
    secret, text = shaped
    line = formatter("gateway", pretty=pretty).format(PLACES[place](f"{before} {text} {after}"))
    assert secret not in line
    assert pretty or json.loads(line)["level"] == "error"


@given(before=AROUND, after=AROUND, key=KEYS)
def test_a_key_is_found_within_anything(before: str, after: str, key: str) -> None:
    """A whole key is hidden even where it stands within a word."""
    assert key not in Redactor().text(before + key + after)


@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=40), before=AROUND, after=AROUND)
def test_what_is_known_is_hidden_whatever_its_shape(secret: str, before: str, after: str) -> None:
    """A long secret that the process was given is hidden wherever it stands, in Python's own words and in URLs as well."""
    redactor = Redactor()
    redactor.know(secret)
    for text in (before + secret + after, f"{before}{secret!r}{after}"):
        assert secret not in redactor.text(text)


def test_a_short_secret_is_hidden_as_a_word() -> None:
    """A password that is part of a common word is hidden where it stands alone, and the word stays."""
    redactor = Redactor()
    redactor.know("gate")
    assert redactor.text("the gate opens the gateway") == "the *** opens the gateway"


def test_a_password_of_a_url_is_hidden_in_each_form() -> None:
    """The password of a configured URL is hidden as the URL has it and as the driver repeats it."""
    redactor = Redactor()
    redactor.know_url("postgresql://u:p%40ss%2Fword1@h/db")
    shown = redactor.text("password authentication failed for p@ss/word1 (p%40ss%2Fword1)")
    assert "word1" not in shown


def test_a_name_hides_its_value() -> None:
    """A field whose name says that it is secret is hidden whole, also as a pair of name and value."""
    redactor = Redactor()
    assert redactor.value({"password": "abc", "headers": [(b"Authorization", b"xyz"), (b"accept", b"json")]}) == {
        "password": "***",
        "headers": [["Authorization", "***"], ["accept", "json"]],
    }


@pytest.mark.parametrize(
    "text",
    [
        "call 01a218e9-ddc8-74fa-8d45-cebd53d59cec refused: limit_requests workspace llm-inkpxie9k34la38a qwen-plus",
        "worker 3 takes calls (process 4711)",
        "the upstream default answered 503 at http://127.0.0.1:8000/v1/models",
        "postgresql://gateway@db/gateway",
        "max_tokens=100, input tokens: 12",
        "the task-manager of the risk-assessment ended",
    ],
)
def test_what_is_not_secret_stays(text: str) -> None:
    """IDs, addresses and words that only look a little alike are told as they are."""
    assert Redactor().text(text) == text


def test_ids_and_masked_keys_stay() -> None:
    """What names a key, a workspace or a call to people is never taken for a secret."""
    masked = mask(generate(KeyKind.PLAN, PEPPER).text)
    for text in (masked, key_id(), workspace_id(), call_id(1_700_000_000_000)):
        assert REDACTOR.text(f"about {text}.") == f"about {text}."


def test_the_fields_of_a_call_s_line_are_no_secret_names() -> None:
    """No field of a call's line has a name that would hide it whole."""
    assert [name for name in FIELDS if REDACTOR.field(name, "x") != "x"] == []


def test_the_oldest_is_forgotten() -> None:
    """The secrets that are known are bounded: with too many, the oldest ones go."""
    redactor = Redactor()
    for number in range(2000):
        redactor.know(f"secret-number-{number:06}")
    assert redactor.text("secret-number-001999") == "***"
    assert redactor.text("number-000000") == "number-000000"
    assert len(redactor._known) <= 1000
