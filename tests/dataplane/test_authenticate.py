"""From a bearer key to its principal."""

import asyncio
from dataclasses import replace

import pytest

from gateway.dataplane.authenticate import Keys, bearer
from gateway.domain.credentials import KeyKind, generate
from gateway.domain.errors import InvalidKey, NoKey, Refusal, ServiceUnavailable
from gateway.domain.grants import KeyStatus
from gateway.domain.upstreams import Headers
from tests.dataplane.world import PEPPER, World, turns, world

_STANDARD = frozenset({KeyKind.STANDARD})
_KEY = generate(KeyKind.STANDARD, PEPPER).text


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    """The scheme's case makes no difference (RFC 9110, section 11.1)."""
    assert bearer([(b"authorization", (scheme + _KEY).encode())], _STANDARD) == _KEY


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ([], NoKey),
        ([(b"x-api-key", _KEY.encode())], NoKey),
        ([(b"authorization", b"")], NoKey),
        ([(b"authorization", b"Bearer")], NoKey),
        ([(b"authorization", b"Bearer  ")], NoKey),
        ([(b"authorization", b"Basic " + _KEY.encode())], NoKey),
        ([(b"authorization", _KEY.encode())], NoKey),
        ([(b"authorization", b"Bearer " + _KEY.encode())] * 2, InvalidKey),
        ([(b"authorization", b"Bearer " + _KEY.encode() + b" x")], InvalidKey),
        ([(b"authorization", b"Bearer \xff\xfe")], InvalidKey),
        ([(b"authorization", b"Bearer " + _KEY.swapcase().encode())], InvalidKey),
        ([(b"authorization", b"Bearer " + generate(KeyKind.PLAN, PEPPER).text.encode())], InvalidKey),
        ([(b"authorization", b"Bearer " + generate(KeyKind.TEMPORARY, PEPPER).text.encode())], InvalidKey),
    ],
)
def test_what_is_no_key(headers: Headers, refusal: type[Refusal]) -> None:
    """No key and a wrong one are told apart as the reference does; two keys, or one of another plan, are wrong."""
    with pytest.raises(refusal):
        bearer(headers, _STANDARD)


async def test_a_mistyped_key_never_reaches_the_store() -> None:
    """A key whose check sum is wrong, or of another kind, costs no look-up."""
    async with world() as w:
        flipped = w.key.text[:10] + ("a" if w.key.text[10] != "a" else "b") + w.key.text[11:]
        plan = w.add_key("ak-2", kind=KeyKind.PLAN)
        for key in (flipped, plan.text, "sk-nonsense", ""):
            exchange = await w.call(key=key)
            assert exchange.status == 401
            assert not exchange.body_asked
        assert w.store.asked == []


async def test_one_read_serves_all_that_wait_and_later_calls_none() -> None:
    """Calls of one tick share a single read, and a cached key is not read again."""
    async with world() as w:
        other = w.add_key("ak-2")
        found = await asyncio.gather(*(w.keys.find(key.digest) for key in (w.key, other) * 10))
        assert {principal.key_id for principal in found} == {"ak-1", "ak-2"}
        assert [sorted(batch) for batch in w.store.asked] == [sorted((w.key.digest, other.digest))]
        await w.keys.find(other.digest)
        assert len(w.store.asked) == w.keys.reads == 1
        assert w.keys.hits == 1


async def test_a_caller_joins_only_a_read_that_was_not_sent_yet() -> None:
    """An answer is never older than the question: who asks while a read is under way gets the next one."""
    async with world() as w:
        w.store.pause = asyncio.Event()
        early = asyncio.create_task(w.keys.read(w.key.digest))
        await turns()
        w.store.rows[w.key.digest] = replace(w.store.rows[w.key.digest], status=KeyStatus.DISABLED)
        late = [asyncio.create_task(w.keys.read(w.key.digest)) for _ in range(3)]
        await turns()
        assert len(w.store.asked) == 1
        w.store.pause.set()
        assert (await early).status is KeyStatus.ACTIVE
        assert {(await task).status for task in late} == {KeyStatus.DISABLED}
        assert len(w.store.asked) == 2
        assert (await w.keys.find(w.key.digest)).status is KeyStatus.DISABLED


async def test_a_caller_that_leaves_takes_nobody_s_answer_with_it() -> None:
    """A read goes on for the others when the one who began it is cancelled."""
    async with world() as w:
        w.store.pause = asyncio.Event()
        first = asyncio.create_task(w.keys.find(w.key.digest))
        second = asyncio.create_task(w.keys.find(w.key.digest))
        await turns()
        first.cancel()
        await turns()
        w.store.pause.set()
        assert (await second).key_id == "ak-1"
        assert first.cancelled()


async def test_unknown_keys_are_remembered_for_a_while() -> None:
    """A well-formed key that does not exist is asked for once in the time set, and found when it has come into being."""
    async with world() as w:
        stranger = generate(KeyKind.STANDARD, PEPPER)
        for _ in range(3):
            assert (await w.call(key=stranger.text)).status == 401
        assert len(w.store.asked) == 1
        w.clock.advance(seconds=10)
        w.store.rows[stranger.digest] = w.store.rows[w.key.digest]
        assert (await w.keys.find(stranger.digest)).key_id == "ak-1"
        assert len(w.store.asked) == 2


async def test_the_cache_is_bounded() -> None:
    """Neither many keys nor many guesses fill the memory."""
    async with world(max_keys=5) as w:
        keys = [w.add_key(f"ak-{number}") for number in range(2, 12)]
        for key in keys:
            await w.keys.find(key.digest)
        for _ in range(10):
            with pytest.raises(InvalidKey):
                await w.keys.find(generate(KeyKind.STANDARD, PEPPER).digest)
        assert len(w.keys._known) == len(w.keys._misses) == 5
        reads = w.keys.reads
        await w.keys.find(keys[-1].digest)
        assert w.keys.reads == reads
        await w.keys.find(keys[0].digest)
        assert w.keys.reads == reads + 1


async def _refused(keys: Keys, digest: bytes) -> Refusal:
    with pytest.raises(ServiceUnavailable) as refused:
        await keys.find(digest)
    return refused.value


async def test_known_keys_go_on_while_the_store_is_away() -> None:
    """Without the store a cached key works, and an unknown one is a 503 with a wait, never a 401, and not remembered."""
    async with world() as w:
        other = w.add_key("ak-2")
        await w.keys.find(w.key.digest)
        w.store.away = True
        assert (await w.keys.find(w.key.digest)).key_id == "ak-1"
        assert (await _refused(w.keys, other.digest)).retry_after_ms
        w.store.away = False
        assert (await w.keys.find(other.digest)).key_id == "ak-2"


async def test_a_principal_waits_for_a_catalogue_as_new_as_itself() -> None:
    """Nobody is held to a catalogue older than their principal; if it cannot be read, that is a 503."""
    async with world() as w:
        other = w.add_key("ak-2", catalogue_version=7)
        await w.keys.find(other.digest)
        assert w.catalogue.versions == [7]
        w.catalogue.away = True
        assert (await _refused(w.keys, w.key.digest)).status == 503


async def test_an_unforeseen_fault_of_the_store_strands_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a read raises, those who wait get a 503, those who asked meanwhile their own read, and the next caller too."""
    async with world() as w:
        w.store.pause, w.store.fault = asyncio.Event(), RuntimeError("a bug")
        other = w.add_key("ak-2")
        first = asyncio.create_task(_refused(w.keys, w.key.digest))
        await turns()
        await first
        w.store.fault = None
        held = asyncio.create_task(w.keys.find(w.key.digest))
        await turns()
        queued = asyncio.create_task(w.keys.find(other.digest))
        await turns()
        w.store.pause.set()
        assert (await held).key_id == "ak-1"
        assert (await queued).key_id == "ak-2"
        assert "unforeseen" in caplog.text


async def test_closing_leaves_nobody_waiting() -> None:
    """When the cache is closed, whoever waits for a read, sent or not, is told so."""
    made = World()
    made.store.pause = asyncio.Event()
    other = made.add_key("ak-2")
    waiting = [asyncio.create_task(_refused(made.keys, made.key.digest))]
    await turns()
    waiting.append(asyncio.create_task(_refused(made.keys, other.digest)))
    await turns()
    await made.keys.close()
    await asyncio.gather(*waiting)
