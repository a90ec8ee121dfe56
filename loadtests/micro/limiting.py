"""Steps of admission: the decision in memory, and what Redis is sent and answers."""

import asyncio
import itertools
from typing import Any

import msgspec

from gateway.dataplane.call import begin
from gateway.dataplane.endpoints import ENDPOINTS
from gateway.dataplane.wire import read
from gateway.domain.admission import Answer
from gateway.domain.errors import LimitRequests
from gateway.domain.grants import Limits
from gateway.storage.redis import batches, script
from gateway.storage.redis.admission import RedisAdmissions
from gateway.storage.redis.queue import Entry
from loadtests.micro.messages import SMALL
from loadtests.micro.step import Batch, Run, Step, Together, at_once
from loadtests.micro.world import CLAIMS, TOKENS, Limited, ask
from tests.dataplane.world import ACCOUNT

_GROUP = "2 limits"
_BATCH = 32
_LEASE_US = 60_000_000
_ADMITTED = [0, 1_700_000_000_000_000, *(99_999_999, 1) * len(CLAIMS)]
"""How the script answers that a call is admitted: the time, and of each bucket what remains and when it is full."""


async def _decide() -> Run:
    admissions = Limited().admissions
    numbers = itertools.count()

    def run() -> Answer:
        question = ask(next(numbers))
        decision = at_once(admissions.admit(question))
        admissions.settle(ACCOUNT, question.call_id, TOKENS)
        return decision.answer

    assert run() is Answer.ADMITTED
    sums = admissions.conservation()
    assert (sums.reserved, sums.settled, sums.live) == (2 * TOKENS, 2 * TOKENS, 0)
    return run


async def _admit() -> Run:
    world = Limited()
    gate, body, call = world.plane.gate, read(SMALL), begin(0.0)
    await gate.authenticate(call, world.exchange(SMALL))
    numbers = itertools.count()

    def run() -> None:
        call.id = f"call-{next(numbers)}"
        at_once(gate.admit(call, body, ENDPOINTS[0], 0.0))
        world.admissions.settle(ACCOUNT, call.id, TOKENS)

    run()
    assert call.decision is not None
    assert (call.decision.answer, len(call.decision.gauges)) == (Answer.ADMITTED, len(CLAIMS))
    return run


async def _refuse() -> Run:
    world = Limited(Limits(rpm=1, tpm=1_000_000))
    gate, body, call = world.plane.gate, read(SMALL), begin(0.0)
    await gate.authenticate(call, world.exchange(SMALL))
    await gate.admit(call, body, ENDPOINTS[0], 0.0)
    call.id = "another"

    def run() -> bool:
        try:
            at_once(gate.admit(call, body, ENDPOINTS[0], 0.0))
        except LimitRequests:
            return True
        return False

    assert run()
    return run


async def _pack() -> Run:
    loop = asyncio.get_running_loop()
    asks = [ask(number) for number in range(_BATCH)]
    future = loop.create_future()
    batch = batches.Batch(1, 0.0, 0.0)

    def run() -> bytes:
        entries = [Entry(future, script.admit(each, _LEASE_US), 0.0, ACCOUNT, ride=False) for each in asks]
        (call,) = batches.calls_of(entries, batch, keyed=False, asking=False)
        return call.payload

    assert len(msgspec.msgpack.decode(run())) == _BATCH
    future.cancel()
    return run


async def _unpack() -> Run:
    loop = asyncio.get_running_loop()
    asks = [ask(number) for number in range(_BATCH)]
    reply = msgspec.msgpack.encode([_ADMITTED] * _BATCH)

    def run() -> list[Any]:
        entries = [Entry(loop.create_future(), None, 0.0, ACCOUNT, ride=False) for _ in asks]
        assert batches.deliver(entries, reply)
        return [script.decision(each, entry.future.result()) for each, entry in zip(asks, entries, strict=True)]

    decisions = run()
    assert [decision.answer for decision in decisions] == [Answer.ADMITTED] * _BATCH
    assert [gauge.remaining for gauge in decisions[0].gauges] == [99_999_999] * len(CLAIMS)
    return run


class _Answering:
    """A store that admits, and settles, with the next turn of the event loop."""

    replicated = False

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.settled = 0

    def _soon(self, answer: object) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        self._loop.call_soon(future.set_result, answer)
        return future

    def ask(self, _account_id: str, _item: object) -> asyncio.Future[Any]:
        return self._soon(_ADMITTED)

    def ride(self, _account_id: str, _item: object) -> asyncio.Future[Any]:
        self.settled += 1
        return self._soon(1)

    def on_new_server(self, _listener: object) -> None:
        """It stays what it is."""


async def _through_redis() -> Batch:
    store = _Answering()
    admissions = RedisAdmissions(store, lease_us=_LEASE_US, hold_seconds=0, clock=asyncio.get_running_loop().time)
    numbers = itertools.count()

    async def run() -> None:
        asks = [ask(next(numbers)) for _ in range(_BATCH)]
        for decision in await asyncio.gather(*map(admissions.admit, asks)):
            assert decision.answer is Answer.ADMITTED
        for each in asks:
            admissions.settle(ACCOUNT, each.call_id, TOKENS)
        await asyncio.sleep(0)

    await run()
    await asyncio.sleep(0)
    sums = admissions.conservation()
    assert (sums.reserved, sums.live, store.settled) == (2 * TOKENS * _BATCH, 0, _BATCH)
    return run


STEPS: list[Step | Together] = [
    Step(_GROUP, "4 buckets decided on and settled, in memory", _decide),
    Step(_GROUP, "call admitted by the gate, and settled, in memory", _admit),
    Step(_GROUP, "call refused by the gate, in memory", _refuse),
    Step(_GROUP, f"4 buckets packed for Redis, of {_BATCH} calls", _pack, per=_BATCH),
    Step(_GROUP, f"answer of Redis unpacked, of {_BATCH} calls", _unpack, per=_BATCH),
    Together(_GROUP, f"call admitted and settled by Redis, without packing, of {_BATCH} calls", _through_redis, per=_BATCH),
]
