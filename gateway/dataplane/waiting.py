"""Waiting instead of a 429, where the client asks for it with `X-DashScope-Wait-Timeout: <seconds>` (the reference's
documentation of rate limits; admission.md, "Waiting instead of 429").

For each workspace and model there is one line. Only its head asks, at the wait it was told plus some jitter; each try is a fresh
admission. While somebody waits, a newcomer joins the line or, without the header, is refused as the head was.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from gateway.domain.admission import Answer, Decision

_JITTER = 0.25  # seconds at most
_LEAST_WAIT = 0.001

Pair = tuple[str, str]
Attempt = Callable[[], Awaitable[Decision]]


@dataclass(slots=True)
class _Line:
    """Those who wait for one pair. `refusal` is what the head was last told, `told` when that was."""

    refusal: Decision
    told: float
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class WaitingRoom:
    """The lines of this process; at most `most` calls wait, none for longer than `longest` seconds."""

    def __init__(self, *, most: int, longest: float, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._most = most
        self._longest = longest
        self._clock = clock
        self._random = random
        self._lines: dict[Pair, _Line] = {}
        self.waiting = 0

    def has_line(self, pair: Pair) -> bool:
        return pair in self._lines

    async def admit(self, pair: Pair, attempt: Attempt, wait_seconds: float) -> Decision:
        """The decision of `attempt`, or of a later one within `wait_seconds`."""
        line = self._lines.get(pair)
        patience = min(wait_seconds, self._longest)
        if line is None:
            decision = await attempt()
            if decision.answer is not Answer.REFUSED or patience <= 0 or self.waiting >= self._most:
                return decision
            # Others may have formed a line while this call asked.
            line = self._lines.get(pair)
            if line is None:
                line = self._lines[pair] = _Line(decision, self._clock())
        elif patience <= 0 or self.waiting >= self._most:
            return self._as_the_head(line)
        return await self._wait(pair, line, attempt, self._clock() + patience)

    def _as_the_head(self, line: _Line) -> Decision:
        passed = int((self._clock() - line.told) * 1_000_000)
        return replace(line.refusal, wait_us=max(1, line.refusal.wait_us - passed))

    async def _wait(self, pair: Pair, line: _Line, attempt: Attempt, deadline: float) -> Decision:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        self.waiting += 1
        if line.waiting[0] is turn:
            turn.set_result(None)
        try:
            try:
                async with asyncio.timeout(max(0.0, deadline - self._clock())):
                    await turn
            except TimeoutError:
                return self._as_the_head(line)
            return await self._at_the_head(line, attempt, deadline)
        finally:
            self.waiting -= 1
            line.waiting.remove(turn)
            if not line.waiting:
                del self._lines[pair]
            elif not line.waiting[0].done():
                line.waiting[0].set_result(None)

    async def _at_the_head(self, line: _Line, attempt: Attempt, deadline: float) -> Decision:
        while True:
            now = self._clock()
            wait = max(_LEAST_WAIT, line.refusal.wait_us / 1_000_000)
            due = line.told + wait + min(_JITTER, wait / 10) * self._random()
            await asyncio.sleep(max(0.0, min(due, deadline) - now))
            decision = await attempt()
            if decision.answer is not Answer.REFUSED or self._clock() >= deadline:
                return decision
            line.refusal, line.told = decision, self._clock()
