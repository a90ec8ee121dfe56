"""An account with calls of the last minutes, and buckets that are kept by the real store of one process."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.control.streams import Shared, Streams
from gateway.domain import ids
from gateway.domain.admission import Ask, claims_of
from gateway.domain.buckets import Claim, Level
from gateway.domain.credentials import KeyKind
from gateway.domain.grants import KeyStatus, Limits, Principal
from gateway.domain.ledger import Entry
from gateway.storage.memory.admission import MemoryAdmissions
from gateway.storage.sql.entries import store
from gateway.storage.sql.refusals import SqlRefusals
from tests.control.admin_api import Control
from tests.control.usage_rows import entry

MODEL = "served-model"
MINUTE_MS = 60_000


@dataclass
class Live:
    """`calls` gives rows to the ledger, `refused` sums of refused calls, `take` fills buckets; time stands still."""

    control: Control
    admissions: MemoryAdmissions

    async def calls(
        self, workspace: str, key: str, model: str = MODEL, *, count: int = 1, ago_ms: int = 0, **fields: Any
    ) -> None:
        await self.store(self.rows(workspace, key, model, count=count, ago_ms=ago_ms, **fields))

    def rows(
        self, workspace: str, key: str, model: str = MODEL, *, count: int = 1, ago_ms: int = 0, **fields: Any
    ) -> list[Entry]:
        at = self.control.clock.now - ago_ms
        place = {"account_id": self.control.account_id, "workspace_id": workspace, "key_id": key, "model": model}
        return [entry(ids.call_id(at), at, **{**place, **fields}) for _ in range(count)]

    async def store(self, rows: Sequence[Entry]) -> None:
        await store(self.control.services.engine, rows)

    async def refused(self, workspace: str, key: str, cause: str, model: str = MODEL, *, count: int = 1, ago_ms: int = 0) -> None:
        caller = Principal(
            key_id=key,
            kind=KeyKind.STANDARD,
            status=KeyStatus.ACTIVE,
            workspace_id=workspace,
            account_id=self.control.account_id,
            is_default=False,
            epoch=1,
            catalogue_version=1,
        )
        counted = SqlRefusals(self.control.services.engine)
        for _ in range(count):
            counted.count(self.control.clock.now - ago_ms, caller, model, cause)
        await counted.flush()

    async def take(self, *claims: Claim) -> str:
        """One open call that takes these amounts; its ID."""
        call_id = ids.call_id(self.control.clock.now)
        decision = await self.admissions.admit(Ask(call_id, self.control.account_id, 1, claims=claims))
        assert decision.answer == "admitted"
        return call_id

    def of_account(self, limits: Limits, tokens: int = 1) -> list[Claim]:
        return claims_of(Level.ACCOUNT, self.control.account_id, MODEL, limits, tokens)

    def of_workspace(self, workspace: str, limits: Limits, tokens: int = 1) -> list[Claim]:
        return claims_of(Level.WORKSPACE, workspace, MODEL, limits, tokens)

    async def read(self) -> dict[str, Any]:
        reply = await self.control.get(f"/accounts/{self.control.account_id}/live")
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def stream(self, **bounds: Any) -> Streams:
        """Streams with these bounds from now on, and an event as often as can be."""
        made = Streams(**{"every_seconds": 0.01, "longest_seconds": 5.0, **bounds})
        self._replace(streams=made)
        return made

    def _replace(self, **parts: Any) -> None:
        services = replace(self.control.services, **parts)
        self.control.services = self.control.app.state.services = services

    def keep(self, levels: Any) -> None:
        """Let somebody else keep the buckets."""
        self._replace(levels=levels)


def begin(control: Control) -> Live:
    """Each look is a new one, and the clock stands still at the half of a minute."""
    control.clock.step = 0
    control.clock.now = control.clock.now // MINUTE_MS * MINUTE_MS + MINUTE_MS // 2
    admissions = MemoryAdmissions(clock=lambda: control.clock.now * 1000, lease_us=60_000_000)
    made = Live(control, admissions)
    made._replace(levels=admissions, live=Shared(0.0))
    return made


def buckets(of: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """What is used of each bucket, and what it holds."""
    return {each["limit"]: (each["used"], each["capacity"]) for each in of["buckets"]}


def causes(of: dict[str, Any]) -> Sequence[tuple[str, str | None, int]]:
    return [(each["code"], each["level"], each["calls"]) for each in of["causes"]]
