"""How much of request bodies is kept: a bound for each call (413) and one for the process (503). Sizes in bytes."""

from types import TracebackType
from typing import Self

from gateway.domain.errors import BodyTooLarge, ServiceUnavailable

_RETRY_MS = 1000


class Bodies:
    """The bodies held by this process; `held` is their size."""

    def __init__(self, *, most: int, most_together: int) -> None:
        self.most = most
        self.most_together = most_together
        self.held = 0

    def hold(self) -> "Hold":
        return Hold(self)


class Hold:
    """One call's share, given back when the block ends."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bodies.held -= self._size
        self._size = 0

    def check(self, size: int) -> None:
        """Whether a body of `size` may be kept. Raises BodyTooLarge, ServiceUnavailable."""
        bodies = self._bodies
        if size > bodies.most:
            raise BodyTooLarge(message=f"The request body is larger than the {bodies.most:,} bytes that are taken.")
        if bodies.held - self._size + size > bodies.most_together:
            raise ServiceUnavailable(f"{bodies.held} bytes of request bodies are held", retry_after_ms=_RETRY_MS)

    def add(self, size: int) -> None:
        """Keep `size` more. Raises as `check`."""
        self.check(self._size + size)
        self._size += size
        self._bodies.held += size
