"""What the tests of the ledger's streams look at: what is in Redis, what is in the database."""

from typing import Any

from redis.asyncio import Redis

from gateway.domain.ledger import Entry
from gateway.storage.redis.streams import Client, Streams, decode, encode
from gateway.storage.sql.engine import AsyncEngine
from gateway.storage.sql.tables import ledger, usage_hours
from tests.storage.sql.rows import entry, rows


def entries(count: int, *, first: int = 0) -> list[Entry]:
    """Entries of some accounts, in the order of their call IDs."""
    return [entry(call_id=f"{number:05}", account_id=f"acc-{number % 10}") for number in range(first, first + count)]


async def add(client: Client, streams: Streams, some: list[Entry], *, number: int | None = None) -> None:
    """Add entries, a message for each stream, as a process does at the end of a turn; or all to the stream of that number."""
    parts: dict[int, list[Entry]] = {}
    for one in some:
        parts.setdefault(streams.of(one.account_id) if number is None else number, []).append(one)
    for part, of in parts.items():
        await client.xadd(streams.names[part], {"e": encode(of)})


async def messages(client: Redis, name: str) -> list[dict[bytes, bytes]]:
    found: Any = await client.xrange(name)
    return [fields for _, fields in found]


async def held(client: Redis, streams: Streams) -> list[Entry]:
    """All entries in the streams, by call ID."""
    found = [one for name in streams.names for fields in await messages(client, name) for one in decode(fields)]
    return sorted(found, key=lambda one: one.call_id)


async def pending(client: Redis, streams: Streams) -> int:
    """Messages that were delivered to some member and not ended."""
    counts = []
    for name in streams.names:
        found: Any = await client.xpending(name, "gateway")
        counts.append(found["pending"])
    return sum(counts)


async def calls(engine: AsyncEngine) -> list[str]:
    """The call IDs in the database, once it is certain that the roll-ups count just those."""
    found = [str(row[0]) for row in await rows(engine, ledger, "call_id")]
    assert sum(row[0] for row in await rows(engine, usage_hours, "calls")) == len(found)
    return found
