"""Streams of events to browsers: only so many, each only so long, and all of them end as soon as the process is about to."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakSet

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.control.problems import Unavailable

MEDIA_TYPE = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_FRESH_SECONDS = 1.0

Answer = TypeVar("Answer")


class Place:
    """One stream's place among those that may be open."""

    def __init__(self, who: str) -> None:
        self.who = who


class Streams:
    """The open streams of this process: at most `most`, and `most_each` of one person; each has an event every `every_seconds`,
    and ends after `longest_seconds`, or once the process is about to end.
    """

    def __init__(
        self, most: int = 100, most_each: int = 10, *, every_seconds: float = 2.0, longest_seconds: float = 15 * 60.0
    ) -> None:
        self.every_seconds = every_seconds
        self.longest_seconds = longest_seconds
        self._most = most
        self._most_each = most_each
        # A place that nobody gave back is free again once its response is gone.
        self._places: WeakSet[Place] = WeakSet()
        self._end = asyncio.Event()

    def __len__(self) -> int:
        return len(self._places)

    def take(self, who: str) -> Place:
        """A place for one more stream. Raises Unavailable."""
        if self._end.is_set():
            raise Unavailable("This process is about to end; connect again in a few seconds.")
        if len(self._places) >= self._most:
            raise Unavailable(f"As many streams are open as this process has ({self._most}); try again in a while.")
        if sum(place.who == who for place in self._places) >= self._most_each:
            raise Unavailable(f"You have {self._most_each} streams open; close one of them.")
        place = Place(who)
        self._places.add(place)
        return place

    def give_back(self, place: Place) -> None:
        self._places.discard(place)

    async def pause(self, seconds: float) -> bool:
        """Wait; answers whether streams may go on after that. Returns at once when they may not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end.wait()
        return not self._end.is_set()

    def end(self) -> None:
        """Have all streams end now, and take no new ones."""
        self._end.set()


class EventStream(StreamingResponse):
    """A response of server-sent events, which gives its place back however it ends."""

    media_type = MEDIA_TYPE

    def __init__(self, content: Any, streams: Streams, place: Place, status_code: int = 200) -> None:
        super().__init__(content, status_code, HEADERS)
        self._streams = streams
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.give_back(self._place)


def event(name: str, data: str) -> str:
    """One event. `data` is a single line, as JSON is."""
    return f"event: {name}\ndata: {data}\n\n"


class Shared:
    """Answers that are read once for all who ask for the same within a second, however many watch; a question that takes longer
    is never put twice at a time.
    """

    def __init__(self, fresh_seconds: float = _FRESH_SECONDS) -> None:
        self._fresh_seconds = fresh_seconds
        self._answers: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}

    async def get(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """What `read` answers, now or less than a second ago. Raises what it raises."""
        now = asyncio.get_running_loop().time()
        self._answers = {each: held for each, held in self._answers.items() if self._counts(*held, now)}
        held = self._answers.get(key)
        if held is None:
            held = self._answers[key] = (now, asyncio.create_task(read()))
            held[1].add_done_callback(_looked_at)
        # Whoever leaves takes the answer from nobody else.
        answer: Answer = await asyncio.shield(held[1])
        return answer

    def _counts(self, at: float, task: asyncio.Task[Any], now: float) -> bool:
        if not task.done():
            return True
        return now - at < self._fresh_seconds and not task.cancelled() and task.exception() is None


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Whoever asked may have left, and then nobody else looks at what went wrong."""
    if not task.cancelled():
        task.exception()
