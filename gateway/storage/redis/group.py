"""This process's membership in the consumer group of the ledger's streams: what it reads, takes over from the dead, and ends.

Each message is delivered to one member and stays pending for it until it is ended. A member that dies leaves its messages
pending; once they were idle for long enough, others take them over. All this is only about who does the work: that a message is
delivered twice does no harm, since an entry is stored once by its call ID.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ResponseError

from gateway.storage.redis.streams import GROUP, Client, Streams, pipelined

COUNT = 64
"""The most messages of a stream that are read at once."""
_CLAIM_COUNT = 1000
_TIMEOUT_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Message(msgspec.Struct, frozen=True):
    """A message of a stream; without fields it was deleted before it could be read."""

    stream: int
    id: bytes
    fields: Mapping[bytes, bytes]


class Group:
    """The membership. `own` are the streams with messages that are pending here already, to be read before new ones; who cannot
    end what was read adds its streams.

    Every method raises what redis-py raises, and TimeoutError after five seconds.
    """

    def __init__(self, client: Client, streams: Streams) -> None:
        self.name = f"process-{uuid.uuid4().hex}"
        self.own: set[int] = set()
        self._client = client
        self._streams = streams
        self._keys = [name.encode() for name in streams.names]

    async def read(self, numbers: Sequence[int]) -> list[Message]:
        """Messages of some streams, those pending here first. A group that is missing, as in an emptied Redis, is made anew."""
        # A Cluster takes a command for each stream. Anywhere else one is read with all others: of most there is nothing to tell.
        parts = [[number] for number in numbers] if isinstance(self._client, RedisCluster) else [numbers]
        commands = [self._read_command(part) for part in parts]
        pending = self.own & set(numbers)
        # Whatever is delivered but does not arrive here is pending here.
        self.own |= set(numbers)
        answers = await self._pipelined(commands)
        found: list[Message] = []
        for part, answer in zip(parts, answers, strict=True):
            if isinstance(answer, Exception):
                continue
            delivered = _delivered(answer)
            for number in part:
                messages = [Message(number, id_, fields) for id_, fields in delivered.get(self._keys[number], ())]
                found += messages
                if not (number in pending and messages):
                    self.own.discard(number)
        await self._mend(
            [number for part in parts for number in part], [each for part, each in zip(parts, answers, strict=True) for _ in part]
        )
        return found

    def _read_command(self, numbers: Sequence[int]) -> tuple[Any, ...]:
        names = [self._streams.names[number] for number in numbers]
        after = ["0" if number in self.own else ">" for number in numbers]
        return ("XREADGROUP", "GROUP", GROUP, self.name, "COUNT", COUNT, "STREAMS", *names, *after)

    async def end(self, messages: Iterable[Message]) -> None:
        """These messages are done with: delete them, and let them be pending no more.

        In this order: what is deleted and still pending is seen, and ended, at the next turn; the other way round it would stay
        in the stream for ever. No message is deleted that was not handed over by its ID.
        """
        ids: dict[int, list[bytes]] = {}
        for message in messages:
            ids.setdefault(message.stream, []).append(message.id)
        commands: list[tuple[Any, ...]] = []
        for number, ended in ids.items():
            name = self._streams.names[number]
            commands += [("XDEL", name, *ended), ("XACK", name, GROUP, *ended)]
        _raise_first(await self._pipelined(commands))

    async def bury(self, dead: Iterable[tuple[int, Mapping[bytes, bytes], str]]) -> None:
        """Keep messages that nobody can use, each with the number of its stream, its fields and the reason, for people to see."""
        commands: list[tuple[Any, ...]] = []
        for number, fields, reason in dead:
            flat = [part for pair in fields.items() for part in pair]
            commands.append(("XADD", self._streams.dead(number), "*", *flat, "reason", reason))
        if commands:
            _raise_first(await self._pipelined(commands))

    async def claim(self, numbers: Sequence[int], idle_ms: int) -> int:
        """Take over what has been pending for `idle_ms` without anybody touching it. Returns how many messages that are."""
        commands = [
            ("XAUTOCLAIM", self._streams.names[number], GROUP, self.name, idle_ms, "0-0", "COUNT", _CLAIM_COUNT, "JUSTID")
            for number in numbers
        ]
        answers = await self._pipelined(commands, parse_justid=True)
        claimed = 0
        for number, answer in zip(numbers, answers, strict=True):
            if not isinstance(answer, Exception) and answer:
                self.own.add(number)
                claimed += len(answer)
        await self._mend(numbers, answers)
        return claimed

    async def remove_dead(self, numbers: Sequence[int], idle_ms: int) -> int:
        """Remove members that did nothing for `idle_ms` and have nothing pending. Returns how many names went."""
        answers = await self._pipelined([("XINFO CONSUMERS", self._streams.names[number], GROUP) for number in numbers])
        dead = [
            (number, member["name"])
            for number, answer in zip(numbers, answers, strict=True)
            if not isinstance(answer, Exception)
            for member in answer
            if member["pending"] == 0 and member["idle"] > idle_ms and member["name"] != self.name.encode()
        ]
        await self._remove(dead)
        return len(dead)

    async def leave(self) -> None:
        """End the membership, unless something is pending here: then others take it over first, and remove the name later."""
        await self._remove([(number, self.name.encode()) for number in range(len(self._streams)) if number not in self.own])

    async def _remove(self, members: Sequence[tuple[int, bytes]]) -> None:
        commands = [("XGROUP DELCONSUMER", self._streams.names[number], GROUP, name) for number, name in members]
        answers = await self._pipelined(commands) if commands else []
        for (number, _), answer in zip(members, answers, strict=True):
            if isinstance(answer, int) and answer > 0:
                # It came back to life in between, and what it was just reading is pending for nobody now: deliver all anew.
                _raise_first(await self._pipelined([("XGROUP SETID", self._streams.names[number], GROUP, "0")]))

    async def _mend(self, numbers: Sequence[int], answers: Sequence[object]) -> None:
        """Make the groups that are missing. Raises the first error that says anything else."""
        failed = {number: answer for number, answer in zip(numbers, answers, strict=True) if isinstance(answer, Exception)}
        missing = [number for number, error in failed.items() if isinstance(error, ResponseError) and "NOGROUP" in str(error)]
        if missing:
            commands = [("XGROUP CREATE", self._streams.names[number], GROUP, "0", "MKSTREAM") for number in missing]
            # One stream whose group is missing fails the reading of all that were asked for with it.
            answers = await self._pipelined(commands)
            _raise_first(answer for answer in answers if "BUSYGROUP" not in str(answer))
            made = [number for number, answer in zip(missing, answers, strict=True) if not isinstance(answer, Exception)]
            self.own -= set(made)
            _log.info("made the consumer group of %d ledger streams", len(made))
        _raise_first(error for number, error in failed.items() if number not in missing)

    async def _pipelined(self, commands: Sequence[tuple[Any, ...]], **options: Any) -> list[Any]:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await pipelined(self._client, commands, **options)


def _delivered(answer: Any) -> dict[bytes, list[tuple[bytes, Mapping[bytes, bytes]]]]:
    """What each stream delivered, in any of the shapes that redis-py gives it, which follow the protocol spoken."""
    if not answer:
        return {}
    found = {}
    for name, messages in answer.items() if isinstance(answer, dict) else answer:
        found[name] = messages[0] if messages and isinstance(messages[0], list) else list(messages)
    return found


def _raise_first(answers: Iterable[object]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
