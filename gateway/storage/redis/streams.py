"""The streams that ledger entries go through on their way to the database: their names, what is in them, how full they are.

`gw:ledger:{p}`, with p from a hash of the account; the braces make p the hash tag, so that a Cluster spreads the streams over its
nodes. A message has one field `e`: a MessagePack list of entries, each a map by field name, so that processes of two releases
understand each other. What cannot be read or stored goes to `gw:ledger:dead:{p}`, in the same slot, for people to look at.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

import msgspec
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from gateway.domain.ledger import Entry

Client = Redis | RedisCluster
"""Made with `decode_responses` off, since messages are bytes. It may ask its servers in either protocol."""

FIELD = b"e"
GROUP = "gateway"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Entry])


class Streams:
    """The `count` streams, and the lengths that the consumer last saw; a stream longer than `most` messages is crowded.

    One object is shared by a process's StreamLedger and StreamConsumer.
    """

    def __init__(self, count: int, *, most: int = 1_000_000) -> None:
        self.names = [f"gw:ledger:{{{number}}}" for number in range(count)]
        self.lengths = [0] * count
        self._most = most

    def __len__(self) -> int:
        return len(self.names)

    def of(self, account_id: str) -> int:
        """The number of an account's stream, the same in every process."""
        return _hash(account_id) % len(self.names)

    def dead(self, number: int) -> str:
        return f"gw:ledger:dead:{{{number}}}"

    def crowded(self, number: int) -> bool:
        """Whether the stream is so long that nothing should be added to it while the database can be written."""
        return self.lengths[number] > self._most

    @property
    def overfull(self) -> int:
        """How many streams are crowded: 0, or reason for an alarm."""
        return sum(length > self._most for length in self.lengths)

    def lanes(self, client: Client) -> dict[str, list[int]]:
        """The streams by the node that has them; on a single server all in one lane, whose name is empty.

        A stream whose node is not known is in that lane too.
        """
        if not isinstance(client, RedisCluster):
            return {"": list(range(len(self.names)))}
        found: dict[str, list[int]] = {}
        for number, name in enumerate(self.names):
            try:
                node = client.get_node_from_key(name)
            except Exception:  # noqa: BLE001 — a Cluster that is not connected to, or has lost the slot: the client will tell
                node = None
            found.setdefault(node.name if node is not None else "", []).append(number)
        return found


@lru_cache(maxsize=65_536)
def _hash(account_id: str) -> int:
    return crc32(account_id.encode(errors="replace"))


def encode(entries: Sequence[Entry]) -> bytes:
    """A message's field. Raises ValueError or OverflowError for an entry with a value that no message can hold."""
    return _encoder.encode(entries)


def decode(fields: Mapping[bytes, bytes]) -> list[Entry]:
    """A message's entries. Raises ValueError for what is no such message."""
    if FIELD not in fields:
        raise ValueError(f"it has no field {FIELD.decode()}")
    try:
        return _decoder.decode(fields[FIELD])
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


async def pipelined(client: Client, commands: Iterable[tuple[Any, ...]], **options: Any) -> list[Any]:
    """Send commands together, each for itself: the answer to each in order, an exception for one that failed.

    `options` tell redis-py how to read the answers. Raises what it raises if nothing could be sent.
    """
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command, **options)
    return list(await pipeline.execute(raise_on_error=False))
