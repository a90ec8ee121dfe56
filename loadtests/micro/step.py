"""What a micro-benchmark is, and the fake ends of connections that some of them need."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

_Value = TypeVar("_Value")

Run = Callable[[], object]
Batch = Callable[[], Coroutine[Any, Any, object]]


@dataclass(frozen=True)
class Step:
    """One step of a call. `prepare` makes its inputs, asserts that it gives the right result, and returns what is measured.

    That is called within a running event loop, and does `per` calls' work at once, by which its time is divided.
    """

    group: str
    name: str
    prepare: Callable[[], Coroutine[Any, Any, Run]]
    per: int = 1


@dataclass(frozen=True)
class Together:
    """As `Step`, where the event loop has a part in the work: `per` calls are under way at a time, and `prepare` returns a
    function whose coroutine is done when they are.
    """

    group: str
    name: str
    prepare: Callable[[], Coroutine[Any, Any, Batch]]
    per: int


def at_once(work: Coroutine[Any, Any, _Value]) -> _Value:
    """The value of a coroutine that has nothing to wait for. Raises RuntimeError if it waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # the coroutine's own
    work.close()
    raise RuntimeError("it waits")


class Sink(asyncio.Transport):
    """A transport that keeps what was written last, and never has enough."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.written.extend(list_of_data)

    def taken(self) -> bytes:
        """What was written since it was taken last."""
        written, self.written = self.written, []
        return b"".join(written)

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """There is nothing to read."""

    def resume_reading(self) -> None:
        """There is nothing to read."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It never holds anything back."""

    def close(self) -> None:
        """It was never open."""

    def abort(self) -> None:
        """It was never open."""
