"""One node of Redis: its connection, kept up in the background, its queue, its deadline, its breaker.

Whatever happens to a node happens to the accounts it holds and to nobody else. All of it runs in callbacks of the event loop; the
one task, `_keep`, connects, and connects again.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from gateway.domain.faults import LimitsUnavailable
from gateway.storage.redis.batches import Batch, Call, calls_of, deliver
from gateway.storage.redis.breaker import Breaker
from gateway.storage.redis.link import Link
from gateway.storage.redis.queue import Entry, Queue
from gateway.storage.redis.refusals import NOT_THE_MASTER, WAIT, Refusal
from gateway.storage.redis.state import Limits, NodeState

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 0.001
_AGAIN_SECONDS = 0.01
_AWAY = "it is away"


class Owner(Protocol):
    """What knows all nodes. Called from callbacks: none of this may wait."""

    elsewhere: bool
    """Whether another server may take a node's place while this one lives: then one that lacks replicas is left."""

    def again(self, entries: list[Entry]) -> None:
        """Send these once more, to whichever node has their account now."""

    def redirected(self, node: "Node", entries: list[Entry], refusal: Refusal) -> bool:
        """A node pointed elsewhere. False if there is no elsewhere: the node fails them."""

    def troubled(self, node: "Node") -> None:
        """A node cannot be reached, or says that it cannot serve."""

    def met(self, node: "Node", run_id: str) -> None:
        """A node's connection met a server that was not there before."""


class Node:
    """`connect` opens a link, or raises what is wrong. `keyed`: a call carries one account's items, under its key.

    `stands_in`: this node took the place of another one, so that its first server is already a new one.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[Link]],
        owner: Owner,
        limits: Limits,
        *,
        keyed: bool,
        stands_in: bool = False,
    ) -> None:
        self.name = name
        self.breaker = Breaker()
        self.replicated = False
        self.run_id: str | None = None
        self._connect = connect
        self._owner = owner
        self._limits = limits
        self._too_slow = f"no answer within {limits.deadline * 1000:.0f} ms"
        self._keyed = keyed
        self._stands_in = stands_in
        self._loop = asyncio.get_running_loop()
        self._queue = Queue(limits, self._pump, self._check)
        self._in_flight: list[Batch] = []
        self._link: Link | None = None
        self._gone = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._grace = False
        self._leaving = False
        self._error: str | None = None
        self._batches = self._items = self._failures = self._turned_away = self._connections = 0
        self._seconds = 0.0

    # What callers hand in

    def ask(self, account_id: str, item: object) -> asyncio.Future[Any]:
        """An admission: sent at the end of this turn of the event loop. Fails at once while the breaker is open."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.breaker.open:
            self._fail(future, self._error or _AWAY)
        else:
            self._queue.ask(future, account_id, item)
        return future

    def ride(self, account_id: str, item: object) -> asyncio.Future[Any]:
        """Anything else: sent behind the next admissions, or by itself soon. Waits, within bounds, for a node that is away."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._leaving or self._queue.rides >= self._limits.queued_rides:
            self._turned_away += 1
            self._fail(future, (self._leaving and self._error) or f"{self._queue.rides} settlements wait already")
        else:
            self._queue.ride(future, account_id, item)
        return future

    def again(self, entry: Entry) -> None:
        """Take what was sent once already, here or elsewhere, unless it is too late."""
        if entry.future.done():
            return
        if entry.deadline <= self._loop.time() or self._leaving or (self.breaker.open and not entry.ride):
            self._fail(entry.future, self._error or self._too_slow)
        else:
            self._queue.again(entry)

    def detour(self, entries: list[Entry]) -> None:
        """Ask for these though the node does not hold their account yet (`ASKING`)."""
        if self.breaker.open:
            self._fail_all(entries, self._error or _AWAY)
        else:
            self._queue.detour(entries)

    def _pump(self) -> None:
        """Send what may be sent now."""
        while self._link is not None and len(self._in_flight) < self._limits.in_flight:
            entries, asking = self._queue.take()
            if not entries:
                break
            self._send(self._link, entries, asking=asking)

    def _send(self, link: Link, entries: list[Entry], *, asking: bool) -> None:
        now = self._loop.time()
        # An admission's time began when it was handed in, a ride's begins now.
        batch = Batch(0, now, min(now + self._limits.deadline, entries[0].deadline), len(entries))
        calls = calls_of(entries, batch, keyed=self._keyed, asking=asking)
        if calls:
            batch.left = len(calls)
            self._in_flight.append(batch)
            self._items += len(entries)
            link.send(calls)
            if batch.deadline < self._queue.watched:
                self._queue.watch(batch.deadline)

    # Answers

    def _answered(self, call: Call, reply: object) -> None:
        if isinstance(reply, Refusal):
            if self._refused(call, reply):
                return
        elif isinstance(reply, bytes) and deliver(call.entries, reply):
            self.breaker.answered()
            self._error = None
        else:
            self._count_failure("the script did not answer each item")
            self._fail_all(call.entries, "the script did not answer each item")
        batch = call.batch
        batch.left -= 1
        if batch.left == 0 and batch in self._in_flight:
            self._in_flight.remove(batch)
            self._batches += 1
            seconds = self._loop.time() - batch.sent
            self._seconds += seconds
            self._limits.done.done(batch.items, seconds)
            self._pump()
            if self._leaving and not self._in_flight:
                self.close("it left")

    def _refused(self, call: Call, refusal: Refusal) -> bool:
        """Do what an error reply asks for. True if the call is on its way again, on this link."""
        code, entries = refusal.code, call.entries
        if code == "NOSCRIPT" and not call.loaded and self._link is not None:
            call.loaded = True
            self._link.load_and_send(call)
            return True
        if code in WAIT:
            self._error = str(refusal)
            pause = _AGAIN_SECONDS * (0.5 + random.random())  # noqa: S311 — jitter
            self._loop.call_at(min(self._loop.time() + pause, entries[0].deadline), self._owner.again, entries)
            return False
        if code in {"MOVED", "ASK"} and self._owner.redirected(self, entries, refusal):
            return False
        self._count_failure(str(refusal))
        self._fail_all(entries, str(refusal))
        if code in NOT_THE_MASTER or (code == "NOREPLICAS" and self._owner.elsewhere):
            self._drop(str(refusal), trip=True)
        elif code == "CLUSTERDOWN":
            self._owner.troubled(self)
        return False

    # Failing

    def _fail(self, future: asyncio.Future[Any], why: str) -> None:
        if not future.done():
            future.set_exception(LimitsUnavailable(f"Redis {self.name}: {why}"))
            # Whoever does not wait for a settlement has been told enough by the counter: nothing is to be logged for each.
            future.exception()

    def _fail_all(self, entries: Iterable[Entry], why: str) -> None:
        for entry in entries:
            self._fail(entry.future, why)

    def _count_failure(self, why: str) -> None:
        self._failures += 1
        self._error = why

    def _failed(self, why: str) -> None:
        """Calls were not answered: too often in a row, and nobody is asked any more."""
        self._count_failure(why)
        if self.breaker.failed():
            self.trip(why)

    def _check(self) -> None:
        """Give up on what waits too long, on the wire or before it."""
        now = self._loop.time()
        hung = any(batch.deadline <= now for batch in self._in_flight)
        if (hung or self._queue.next_deadline() <= now) and not self._grace:
            # If this process was slow itself, the answer may be there, unread: one more turn of the event loop reads it first.
            self._grace = True
            self._queue.watch(now + _GRACE_SECONDS)
            return
        self._grace = False
        why = self._too_slow
        late = self._queue.expired(now)
        failed = hung or any(not entry.ride for entry in late)
        self._fail_all(late, why if self._link is not None else self._error or why)
        if hung:
            self._drop(why)
        if failed:
            self._failed(why)
        self._queue.watch(min([self._queue.next_deadline(), *(batch.deadline for batch in self._in_flight)]))

    def _drop(self, why: str, *, trip: bool = False) -> None:
        """Give up the link: its calls fail, and it is never read again."""
        link, self._link = self._link, None
        if link is not None:
            for call in link.waiting():
                self._fail_all(call.entries, why)
            link.drop()
        self._in_flight.clear()
        if trip:
            self.trip(why)
        self._gone.set()
        self._owner.troubled(self)

    def _lost(self, link: Link, why: str) -> None:
        if link is self._link:
            in_use = bool(self._in_flight)
            self._error = why
            self._drop(why)
            if in_use:
                self._failed(why)

    def trip(self, why: str) -> None:
        """There is nobody to ask: whoever asks is told at once, until a probe succeeds."""
        self._error = why
        if not self.breaker.open:
            _log.warning("Redis %s: %s; calls do without it", self.name, why)
        self.breaker.trip()
        if self._link is not None:
            # The probe is a new connection; with this one kept, there would never be one.
            self._drop(why)
        self._shut()

    def _shut(self) -> None:
        """The breaker is open: what waits to be admitted waits no longer."""
        why = self._error or _AWAY
        self._fail_all(self._queue.drain(rides=False), why)

    # The connection

    def start(self) -> None:
        """Connect, in the background, and stay connected."""
        self._keeper = self._loop.create_task(self._keep(), name=f"redis {self.name}")

    async def _keep(self) -> None:
        while not self.leaving():
            self._gone.clear()
            try:
                link = await self._connect()
            except Exception as error:  # noqa: BLE001 — whatever is wrong, the next attempt must come
                self._count_failure(str(error) or type(error).__name__)
                self.trip(f"cannot connect: {self._error}")
                self._owner.troubled(self)
            else:
                if self.leaving():
                    link.drop()
                    return
                self._reached(link)
                await self._gone.wait()
            if self.breaker.open:
                await asyncio.sleep(self.breaker.pause())

    def _reached(self, link: Link) -> None:
        greeting = link.greeting
        self._connections += 1
        self.replicated |= greeting.replicated
        before, self.run_id = self.run_id, greeting.run_id
        if self.breaker.open:
            _log.warning("Redis %s: connected again", self.name)
        self.breaker.close()
        self._error = None
        self._link = link
        link.listen(self._answered, self._lost)
        if before != greeting.run_id and (before is not None or self._stands_in or greeting.replicated):
            self._owner.met(self, greeting.run_id)
        self._queue.rides_are_due()

    # The end

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not (self._in_flight or len(self._queue))

    def leaving(self) -> bool:
        """Whether it takes nothing more."""
        return self._leaving

    @property
    def ended(self) -> bool:
        """Whether its task has ended: it will not connect any more."""
        return self._keeper is None or self._keeper.done()

    def leave(self) -> list[Entry]:
        """The node holds no account any more: it ends once what is under way was answered. Returns what was not sent."""
        self._leaving = True
        entries = self._queue.drain()
        if not self._in_flight:
            self.close("it left")
        return entries

    def take_queue(self) -> list[Entry]:
        """Remove and return what was not sent."""
        return self._queue.drain()

    def close(self, why: str = "the gateway stops") -> None:
        """End at once: everything that waits fails."""
        self._leaving = True
        if self._keeper is not None:
            self._keeper.cancel()
        self._drop(why)
        self.breaker.trip()
        self._error = why
        self._shut()
        self._fail_all(self._queue.drain(), why)
        self._queue.close()

    async def closed(self) -> None:
        """Wait until the task has ended."""
        if self._keeper is not None:
            await end(self._keeper)

    def state(self) -> NodeState:
        return NodeState(
            name=self.name,
            up=self._link is not None and not self.breaker.open,
            breaker="open" if self.breaker.open else "closed",
            run_id=self.run_id,
            queued=len(self._queue),
            in_flight=len(self._in_flight),
            batches=self._batches,
            items=self._items,
            failures=self._failures,
            turned_away=self._turned_away,
            connections=self._connections,
            seconds=self._seconds,
            error=self._error,
        )


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: before Python 3.12 `asyncio.wait_for`, in redis-py, can swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
