"""API keys: what is accepted as one, and what of one is ever shown."""

import math
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.domain import credentials
from gateway.domain.credentials import KeyKind, digest, generate, kind_of, mask, pepper_fingerprint

BASE62 = string.digits + string.ascii_letters
PEPPER = b"a pepper of the tests"
# A key of each kind, written out, so that a change of the format or of the check sum, which disowns every key in use, shows.
KNOWN = {
    KeyKind.STANDARD: "sk-0123456789abcdefghijABCDEFGHIJ000jeZjD",
    KeyKind.PLAN: "sk-sp-0123456789abcdefghijABCDEFGHIJ000jgikD",
    KeyKind.TEMPORARY: "st-0123456789abcdefghijABCDEFGHIJ000FFoVT",
}
kinds = st.sampled_from(KeyKind)


def with_check_sum(kind: KeyKind, secret: str) -> str:
    body = kind.value + secret
    return body + credentials._check_sum(body)


keys = st.builds(with_check_sum, kinds, st.text(BASE62, min_size=32, max_size=32))
any_text = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates too


@pytest.mark.parametrize("kind", KeyKind)
def test_a_key_is_known_by_its_kind(kind: KeyKind) -> None:
    """Every key that is made is recognised as the kind it was made as."""
    for _ in range(200):
        key = generate(kind, PEPPER)
        assert key.text.startswith(kind.value)
        assert kind_of(key.text) is kind


@pytest.mark.parametrize("kind", KeyKind)
def test_keys_of_earlier_releases_stay_keys(kind: KeyKind) -> None:
    """The format and the check sum stay as they are, so that keys in use are not disowned."""
    assert kind_of(KNOWN[kind]) is kind


def test_prefixes_tell_kinds_apart() -> None:
    """The same secret under another kind's prefix is no key: the check sum covers the prefix."""
    for kind, text in KNOWN.items():
        for other in KeyKind:
            assert kind_of(other.value + text.removeprefix(kind.value)) is (kind if other is kind else None)


def test_keys_cannot_be_guessed() -> None:
    """A key holds at least 190 bits that nobody knows, and no two are alike."""
    made = [generate(KeyKind.STANDARD, PEPPER).text for _ in range(3_000)]
    secret = [text.removeprefix("sk-")[:-6] for text in made]
    assert {len(text) for text in secret} == {32}
    assert 32 * math.log2(len(BASE62)) >= 190
    assert len(set(secret)) == len(secret)
    for position in range(32):
        assert len({text[position] for text in secret}) == len(BASE62)


@pytest.mark.parametrize("kind", KeyKind)
def test_every_single_changed_character_is_refused(kind: KeyKind) -> None:
    """Each position of a key, changed to any other printable character, is refused without a look-up: all of them, by trial."""
    text = KNOWN[kind]
    for position, right in enumerate(text):
        for wrong in set(string.printable) | {"é", "\0", "\ud800"}:
            if wrong != right:
                assert kind_of(text[:position] + wrong + text[position + 1 :]) is None


@given(text=keys, position=st.integers(0, 43), wrong=st.characters(codec=None, exclude_categories=()))
def test_a_mistyped_character_is_refused(text: str, position: int, wrong: str) -> None:
    """A key with one character changed, dropped or inserted is refused."""
    position %= len(text)
    assert kind_of(text[:position] + text[position + 1 :]) is None
    assert kind_of(text[:position] + wrong + text[position:]) is None
    assert kind_of(text + wrong) is None
    assume(text[position] != wrong)
    assert kind_of(text[:position] + wrong + text[position + 1 :]) is None


@given(text=keys)
def test_swapped_neighbours_are_refused(text: str) -> None:
    """A key with two adjacent characters swapped is refused, wherever they stand."""
    for position in range(len(text) - 1):
        first, second = text[position], text[position + 1]
        if first != second:
            assert kind_of(text[:position] + second + first + text[position + 2 :]) is None


@given(text=any_text)
@example(text="")
@example(text="sk-")
@example(text="sk-sp-")
@example(text="Bearer sk-")
@example(text="sk-sp-é\ud800\udcff")
def test_random_text_is_never_a_key(text: str) -> None:
    """Whatever a client sends in place of a key, non-ASCII and lone surrogates included, is refused and breaks nothing."""
    assert kind_of(text) is None
    assert isinstance(mask(text), str)
    assert len(digest(text, PEPPER)) == 32


@given(kind=kinds, body=st.text(BASE62, min_size=38, max_size=38))
def test_a_right_shape_is_not_enough(kind: KeyKind, body: str) -> None:
    """Text of a key's form and length without the right check sum is refused."""
    assert kind_of(kind.value + body) is None


@given(text=keys)
def test_a_masked_key_shows_prefix_and_eight_characters(text: str) -> None:
    """The form that is shown for ever holds the prefix, the first four and the last four characters, and nothing else."""
    kind = kind_of(text)
    assert kind is not None
    body = text.removeprefix(kind.value)
    assert mask(text) == f"{kind.value}{body[:4]}****{body[-4:]}"


@given(kind=kinds)
def test_a_new_key_does_not_show_itself(kind: KeyKind) -> None:
    """A key that ends up in a log line by its `repr` or `str` shows no more than its mask."""
    key = generate(kind, PEPPER)
    assert key.masked == mask(key.text)
    for shown in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert key.masked in shown
        assert key.text not in shown
        assert key.text[10:20] not in shown
        assert key.digest.hex() not in shown


@given(text=any_text, other=any_text)
def test_digests_depend_on_key_and_pepper(text: str, other: str) -> None:
    """Two keys never share a digest, and a digest says nothing without the pepper it was made under."""
    assert digest(text, PEPPER) == digest(text, PEPPER)
    assert digest(text, PEPPER) != digest(text, PEPPER + b"!")
    assert (digest(text, PEPPER) == digest(other, PEPPER)) == (text == other)


def test_digests_stay_what_they_are() -> None:
    """A stored digest is HMAC-SHA-256 of the key under the pepper, in this release and the next (RFC 4231, test case 2)."""
    known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert digest("what do ya want for nothing?", b"Jefe").hex() == known


def test_a_new_key_carries_its_digest() -> None:
    """What is stored for a new key is what the key will be looked up by."""
    key = generate(KeyKind.STANDARD, PEPPER)
    assert key.digest == digest(key.text, PEPPER)


def test_a_pepper_is_told_by_its_fingerprint() -> None:
    """Two peppers differ in their fingerprints, which are not digests of any key and do not hold the pepper."""
    assert pepper_fingerprint(b"one") == pepper_fingerprint(b"one")
    assert pepper_fingerprint(b"one") != pepper_fingerprint(b"two")
    assert b"one".hex() not in pepper_fingerprint(b"one")
