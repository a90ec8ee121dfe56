"""A worker as its parent sees it."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.commands.channel import Channel, Order
from gateway.commands.configuration import Bundle, Terms
from gateway.commands.output import Failure
from gateway.ops.scoreboard import Scoreboard

_STOP_MARGIN = 15.0  # beyond the time that calls have: settling, the ledger, closing


@dataclass(frozen=True, slots=True)
class Launch:
    """What is the same for all workers: see `channel.Order`."""

    listeners: Sequence[socket.socket]
    board: Scoreboard
    url: str
    program: str
    as_json: bool
    demo: str | None


class Died(Failure):
    """A worker that ended without a word."""


class WorkerProcess:
    """A child that was started. `told_to_end` says whether its end is no surprise; `took_calls` whether it was ever ready."""

    def __init__(self, number: int, terms: Terms, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.number = number
        self.terms = terms
        self.told_to_end = False
        self.took_calls = False
        self._process = process
        self._channel = channel
        self._started = time.monotonic()

    @classmethod
    async def start(cls, launch: Launch, bundle: Bundle, number: int) -> "WorkerProcess":
        """Start worker `number`. Raises Failure where there can be no process."""
        ours, theirs = socket.socketpair()
        listeners = [each.fileno() for each in launch.listeners]
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway.commands.worker",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *listeners),
            )
        except OSError as error:
            ours.close()
            raise Failure(f"worker {number} cannot be started: {error.strerror}") from None
        finally:
            theirs.close()
        channel = await Channel.over(ours)
        order = Order(
            number=number,
            listeners=listeners,
            scoreboard=str(launch.board.folder),
            url=launch.url,
            program=launch.program,
            as_json=launch.as_json,
            demo=launch.demo,
        )
        channel.send(order, bundle)
        return cls(number, bundle.terms, process, channel)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._started

    async def ready(self, seconds: float) -> None:
        """Wait until it takes calls. Raises Failure with its own words, or Died; one that is too slow is killed."""
        try:
            async with asyncio.timeout(seconds):
                async for words in self._channel.told():
                    if words["is"] == "ready":
                        self.took_calls = True
                        return
                    raise Failure(words["problem"], words["remedy"])
                code = await self._process.wait()
        except TimeoutError:
            self.kill()
            raise Died(f"worker {self.number} did not take calls within {seconds:g} s") from None
        raise Died(f"worker {self.number} ended during its start with {described(code)}")

    def greet(self) -> None:
        self._channel.say(do="greet")

    def retire(self) -> None:
        """Have it end in favour of other workers."""
        self.told_to_end = True
        self._channel.say(do="retire")

    def stop(self, *, now: bool = False) -> None:
        """Have it end because all do; `now`: without waiting for calls."""
        self.told_to_end = True
        if not self.took_calls:
            self._signal(signal.SIGTERM)  # it does not listen to us yet
        self._channel.say(do="stop now" if now else "stop")

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, minus the signal's number for one that a signal ended, once it has ended."""
        code = await self._process.wait()
        self._channel.close()
        return code

    async def ended_in_time(self) -> None:
        """Wait for the end of one that was told to; past its time it is killed."""
        try:
            async with asyncio.timeout(self.terms.drain + self.terms.graceful + _STOP_MARGIN):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()


def described(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
