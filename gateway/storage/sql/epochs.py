"""Accounts' epochs as the database has them: what calls are compared with while the store of limits is away."""

import asyncio
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.domain.faults import KeyStoreUnavailable
from gateway.storage.sql.engine import reading
from gateway.storage.sql.tables import accounts

_MOST = 500
_QUERY = sa.select(accounts.c.id, accounts.c.epoch).where(accounts.c.id.in_(sa.bindparam("ids", expanding=True)))


class SqlEpochs:
    """Reads gathered as those of keys are: one query runs at a time, and a caller joins only a read that was not sent yet."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._asked: dict[str, asyncio.Future[int | None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self.reads = 0

    async def __call__(self, account_id: str) -> int | None:
        """The epoch of an account by a read that began after this call; None if there is no such account.

        Raises KeyStoreUnavailable.
        """
        answer = self._asked.get(account_id)
        if answer is None:
            answer = self._asked[account_id] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all())
        return await asyncio.shield(answer)

    async def _read_all(self) -> None:
        try:
            while self._asked:
                batch, self._asked = self._asked, {}
                try:
                    found = await self._read(list(batch))
                except Exception as error:  # noqa: BLE001 — whatever it is, those who wait must get an answer
                    fault = error if isinstance(error, KeyStoreUnavailable) else KeyStoreUnavailable(type(error).__name__)
                    _fail(batch, fault)
                except BaseException:
                    _fail(batch | self._asked, KeyStoreUnavailable("the read was broken off"))
                    raise
                else:
                    for account_id, answer in batch.items():
                        if not answer.done():
                            answer.set_result(found.get(account_id))
        finally:
            self._reading = None

    async def _read(self, ids: Sequence[str]) -> dict[str, int]:
        self.reads += 1
        found: dict[str, int] = {}
        async with reading(self._engine) as connection:
            for start in range(0, len(ids), _MOST):
                part = list(ids[start : start + _MOST])
                padded = part + part[:1] * ((1 << (len(part) - 1).bit_length()) - len(part))  # few statements to prepare
                found |= {row.id: row.epoch for row in await connection.execute(_QUERY, {"ids": padded})}
        return found

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def _fail(batch: dict[str, asyncio.Future[Any]], fault: KeyStoreUnavailable) -> None:
    for answer in batch.values():
        if not answer.done():
            answer.set_exception(fault)
            answer.exception()  # nobody may be left to read it
