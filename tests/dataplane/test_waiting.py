"""Waiting instead of a 429, on a loop whose time jumps."""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.dataplane.waiting import WaitingRoom
from gateway.domain.admission import Answer, Decision
from gateway.domain.grants import Limits
from tests.dataplane.fakes import Clock
from tests.dataplane.virtual import now, run
from tests.dataplane.world import MODEL, completion, world

_PAIR = ("llm-1", "m")


def _room(*, most: int = 100, longest: float = 60.0, jitter: float = 0.0) -> WaitingRoom:
    return WaitingRoom(most=most, longest=longest, clock=now, random=lambda: jitter)


@dataclass
class _Bucket:
    """Lets one call in at each of the given times, in seconds from the start; `asked` logs who asked when."""

    times: list[float]
    asked: list[tuple[str, float]] = field(default_factory=list)
    slow: float = 0.0
    began: float = field(default_factory=now)

    def attempt(self, name: str) -> "_Attempt":
        return _Attempt(self, name)

    async def admit(self, name: str) -> Decision:
        if self.slow:
            await asyncio.sleep(self.slow)
        passed = now() - self.began
        self.asked.append((name, round(passed, 6)))
        if not self.times:
            return Decision(Answer.REFUSED, wait_us=3_600_000_000)
        if passed >= self.times[0] - 1e-9:
            self.times.pop(0)
            return Decision(Answer.ADMITTED)
        return Decision(Answer.REFUSED, wait_us=round((self.times[0] - passed) * 1_000_000))


@dataclass
class _Attempt:
    bucket: _Bucket
    name: str

    async def __call__(self) -> Decision:
        return await self.bucket.admit(self.name)


async def _seconds(room: WaitingRoom, bucket: _Bucket, name: str, patience: float) -> tuple[Answer, float]:
    decision = await room.admit(_PAIR, bucket.attempt(name), patience)
    return decision.answer, round(now() - bucket.began, 6)


def test_those_who_wait_pass_in_the_order_of_arrival_and_only_the_head_asks() -> None:
    """Room that comes free goes to whoever came first; the others do not ask at all until they are first."""

    async def main() -> None:
        room, bucket = _room(), _Bucket([1, 2, 4])
        calls = [asyncio.create_task(_seconds(room, bucket, name, 10)) for name in ("a",)]
        await asyncio.sleep(0.1)
        for name in ("b", "c"):
            calls.append(asyncio.create_task(_seconds(room, bucket, name, 10)))
            await asyncio.sleep(0.1)
        assert await asyncio.gather(*calls) == [(Answer.ADMITTED, 1.0), (Answer.ADMITTED, 2.0), (Answer.ADMITTED, 4.0)]
        # "b" asks at once when it becomes the head, by what the head before it was told.
        assert [name for name, _ in bucket.asked] == ["a", "a", "b", "b", "c", "c"]
        assert not room._lines
        assert room.waiting == 0

    run(main())


def test_calls_that_arrive_together_form_one_line() -> None:
    """Calls that were all asking when the first was refused line up as they were answered."""

    async def main() -> None:
        room, bucket = _room(), _Bucket([1, 2, 3], slow=0.01)
        calls = []
        for name in "abc":
            calls.append(asyncio.create_task(_seconds(room, bucket, name, 10)))
            await asyncio.sleep(0.001)
        answers = await asyncio.gather(*calls)
        assert [answer for answer, _ in answers] == [Answer.ADMITTED] * 3
        assert [when for _, when in answers] == sorted(when for _, when in answers)

    run(main())


def test_a_newcomer_without_the_header_is_refused_while_somebody_waits() -> None:
    """Who does not wait cannot overtake who does: it is refused with what is left of the head's wait, and asks nothing."""

    async def main() -> None:
        room, bucket = _room(), _Bucket([2, 3])
        waiting = asyncio.create_task(_seconds(room, bucket, "a", 10))
        await asyncio.sleep(0.5)
        decision = await room.admit(_PAIR, bucket.attempt("hasty"), 0)
        assert (decision.answer, decision.wait_us) == (Answer.REFUSED, 1_500_000)
        assert all(name == "a" for name, _ in bucket.asked)
        other = await room.admit(("llm-1", "other"), bucket.attempt("elsewhere"), 0)
        assert other.answer is Answer.REFUSED
        assert bucket.asked[-1][0] == "elsewhere"
        assert (await waiting) == (Answer.ADMITTED, 2.0)

    run(main())


def test_without_the_header_a_refusal_comes_at_once() -> None:
    """A call that asked for no wait is answered at once and leaves no line behind."""

    async def main() -> None:
        room, bucket = _room(), _Bucket([2])
        assert await _seconds(room, bucket, "a", 0) == (Answer.REFUSED, 0.0)
        assert not room._lines

    run(main())


@pytest.mark.parametrize(("asked", "waits"), [(1.5, 1.5), (30.0, 5.0)])
def test_a_deadline_ends_the_wait_with_a_last_try(asked: float, waits: float) -> None:
    """Nobody waits longer than it asked for or than the setting allows, and the last word is a fresh refusal."""

    async def main() -> None:
        room, bucket = _room(longest=5.0), _Bucket([10])
        assert await _seconds(room, bucket, "a", asked) == (Answer.REFUSED, waits)
        assert bucket.asked == [("a", 0.0), ("a", waits)]
        assert not room._lines

    run(main())


def test_a_deadline_in_the_middle_of_the_line() -> None:
    """Who is not first when its time is over is refused and leaves; those behind it keep their places."""

    async def main() -> None:
        room, bucket = _room(), _Bucket([2, 3])
        calls = []
        for name, patience in (("a", 10.0), ("b", 1.0), ("c", 10.0)):
            calls.append(asyncio.create_task(_seconds(room, bucket, name, patience)))
            await asyncio.sleep(0)
        assert await asyncio.gather(*calls) == [(Answer.ADMITTED, 2.0), (Answer.REFUSED, 1.0), (Answer.ADMITTED, 3.0)]
        assert not room._lines

    run(main())


def test_jitter_only_delays() -> None:
    """The head asks at the wait that it was told or a little later, never before."""

    async def main() -> None:
        room, bucket = _room(jitter=1.0), _Bucket([1])
        assert await _seconds(room, bucket, "a", 10) == (Answer.ADMITTED, 1.1)

    run(main())


def test_only_so_many_wait() -> None:
    """The next call beyond the bound is refused at once, in a line that exists or as the first of another."""

    async def main() -> None:
        room, bucket = _room(most=2), _Bucket([5, 6])
        waiting = [asyncio.create_task(_seconds(room, bucket, name, 10)) for name in "ab"]
        await asyncio.sleep(1)
        assert room.waiting == 2
        assert await _seconds(room, bucket, "c", 10) == (Answer.REFUSED, 1.0)
        decision = await room.admit(("llm-2", "m"), bucket.attempt("d"), 10)
        assert (decision.answer, now() - bucket.began) == (Answer.REFUSED, 1.0)
        assert len(room._lines) == 1
        assert [answer for answer, _ in await asyncio.gather(*waiting)] == [Answer.ADMITTED] * 2
        assert room.waiting == 0

    run(main())


@pytest.mark.parametrize("leaver", ["first", "middle", "last"])
@pytest.mark.parametrize("when", [0.0, 0.5, 1.0, 1.005, 2.005])
def test_one_that_leaves_is_dropped(leaver: str, when: float) -> None:
    """Whoever leaves, and wherever it waits, its place closes up: the others pass in order and no line is left behind."""

    async def main() -> None:
        room, bucket = _room(), _Bucket([1, 2, 3], slow=0.01)
        calls = []
        for name in ("first", "middle", "last"):
            calls.append(asyncio.create_task(_seconds(room, bucket, name, 10), name=name))
            await asyncio.sleep(0.001)
        await asyncio.sleep(when)
        for call in calls:
            if call.get_name() == leaver:
                call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        stayed = [answer for call, answer in zip(calls, answers, strict=True) if call.get_name() != leaver]
        assert all(isinstance(answer, tuple) and answer[0] is Answer.ADMITTED for answer in stayed)
        assert stayed == sorted(stayed, key=lambda answer: answer[1] if isinstance(answer, tuple) else 0)
        assert not room._lines
        assert room.waiting == 0

    run(main())


class _LoopClock(Clock):
    """The loop's own time."""

    def __call__(self) -> int:
        return round(now() * 1_000_000)

    def seconds(self) -> float:
        return now()


def test_a_call_that_waits_passes_when_there_is_room() -> None:
    """Through the whole data plane: with the header a call gets its turn, without it or when its time is over a 429."""

    async def main() -> None:
        async with world(limits=Limits(rpm=6), clock=_LoopClock()) as w:
            w.upstreams.serve(MODEL, *(completion() for _ in range(9)))
            for _ in range(6):
                assert (await w.call()).status == 200
            began = now()
            calls = [w.begin(w.exchange(None, (b"x-dashscope-wait-timeout", b"%d" % wait))) for wait in (15, 9, 30)]
            await asyncio.sleep(1)
            hasty = await w.call()
            assert (hasty.status, hasty.header("retry-after-ms")) == (429, "9000")
            assert [(await call).status for call in calls] == [200, 429, 429]
            assert now() - began == pytest.approx(10, abs=0.01)
            assert len(w.upstreams.sent) == len(w.ledger.rows) == 7
            w.at_rest()

    run(main())


def test_a_fault_of_the_head_does_not_stop_the_line() -> None:
    """If asking fails for one call, that call gets the fault and the next one its turn."""

    async def main() -> None:
        room, bucket = _room(), _Bucket([1, 2])

        async def broken() -> Decision:
            if bucket.asked:
                raise LookupError
            return await bucket.admit("broken")

        first = asyncio.create_task(room.admit(_PAIR, broken, 10))
        await asyncio.sleep(0)
        second = asyncio.create_task(_seconds(room, bucket, "b", 10))
        with pytest.raises(LookupError):
            await first
        assert (await second)[0] is Answer.ADMITTED
        assert not room._lines

    run(main())
