"""200 calls at once against a limit, through the whole gateway: not one too many, not one too few."""

import asyncio
from collections import Counter
from typing import Any

from gateway.domain import buckets
from gateway.domain.admission import Answer, Ask, Decision
from gateway.domain.buckets import Bucket, Claim, Kind
from tests.system.conftest import Running, Start

CALLS = 200
Event = tuple[str, Any, Any]


def _log(running: Running) -> list[Event]:
    """Every decision and settlement of the store, in the order taken, with the time by its own clock."""
    log: list[Event] = []
    store = running.admissions
    admit, settle = store.admit, store.settle

    async def logged_admit(ask: Ask) -> Decision:
        decision: Decision = await admit(ask)
        if ask.claims:
            log.append(("admit", ask, decision))
        return decision

    def logged_settle(account: str, call: str, tokens: int) -> None:
        now = store._clock()
        log.append(("settle", call, (tokens, now)))
        settle(account, call, tokens)

    store.admit, store.settle = logged_admit, logged_settle
    return log


def _replay(log: list[Event]) -> list[bool]:
    """What the reference in `domain.buckets` answers to the same history."""
    state: dict[tuple[int, int], Bucket | None] = {}
    claims_of: dict[str, tuple[Claim, ...]] = {}
    answers = []
    for what, subject, detail in log:
        if what == "admit":
            keys = [(claim.level, claim.kind) for claim in subject.claims]
            verdict = buckets.decide(subject.claims, [state.get(key) for key in keys], detail.decided_at)
            state.update(zip(keys, verdict.buckets, strict=True))
            answers.append(verdict.admitted)
            if verdict.admitted:
                claims_of[subject.call_id] = subject.claims
        else:
            for claim in claims_of.pop(subject, ()):
                if claim.kind is Kind.TOKENS:
                    key = (claim.level, claim.kind)
                    state[key] = buckets.settled(state.get(key), claim, detail[0], detail[1])
    return answers


async def _storm(running: Running, key: str) -> Counter[int]:
    replies = await asyncio.gather(*(running.chat(key) for _ in range(CALLS)))
    for reply in replies:
        if reply.status_code == 429:
            assert int(reply.headers["retry-after-ms"]) > 0
            assert reply.headers["x-ratelimit-remaining-requests"] is not None
    return Counter(reply.status_code for reply in replies)


async def test_requests_with_a_clock_that_stands_still(start: Start) -> None:
    """With nothing refilling, a limit of 50 requests admits exactly 50 of 200 concurrent calls."""
    async with start(GATEWAY_DEFAULT_RPM="50") as running:
        running.admissions._clock = lambda: 1_000_000
        _, key = await running.key(await running.default_workspace())
        assert await _storm(running, key) == {200: 50, 429: 150}
        assert running.upstream.calls == 50


async def test_requests_with_the_clock_running(start: Start) -> None:
    """What is admitted is 50 and what refilled between the first and the last decision, to the unit."""
    async with start(GATEWAY_DEFAULT_RPM="50") as running:
        log = _log(running)
        _, key = await running.key(await running.default_workspace())
        statuses = await _storm(running, key)
        decisions = [decision for what, _, decision in log if what == "admit"]
        took = decisions[-1].decided_at - decisions[0].decided_at
        assert statuses[200] in (50 + took * 50 // 60_000_000, 50 + took * 50 // 60_000_000 - 1)
        assert _replay(log) == [decision.answer is Answer.ADMITTED for decision in decisions]
        assert statuses[200] == sum(_replay(log)) == running.upstream.calls


async def test_tokens_with_debt(start: Start) -> None:
    """Calls that use more than was reserved put the bucket into debt by exactly the difference, and the debt is waited for."""
    async with start(GATEWAY_DEFAULT_RPM="100000", GATEWAY_DEFAULT_TPM="2000", GATEWAY_LIMITS_RESERVE_OUTPUT="none") as running:
        running.admissions._clock = lambda: 1_000_000
        running.upstream.usage = {"prompt_tokens": 400, "completion_tokens": 600, "total_tokens": 1000}
        running.upstream.delay = 0.5  # so that all are admitted by their estimates before the first is settled
        log = _log(running)
        _, key = await running.key(await running.default_workspace())
        statuses = await _storm(running, key)
        decisions = [decision for what, _, decision in log if what == "admit"]
        assert _replay(log) == [decision.answer is Answer.ADMITTED for decision in decisions]
        admitted = statuses[200]
        assert statuses == {200: admitted, 429: CALLS - admitted}
        (claim,) = {ask.claims[1] for what, ask, _ in log if what == "admit" and ask.claims[1].kind is Kind.TOKENS} - {None}
        assert admitted == 2000 // claim.amount, "each was admitted by its estimate"
        bucket = running.admissions._accounts[claim.owner].cells[claim.bucket]
        assert bucket.micro == (2000 - admitted * 1000) * buckets.MICRO, "the truth was charged, into debt"
        refused = await running.chat(key)
        assert refused.json()["error"]["code"] == "insufficient_quota"
        wait_ms = int(refused.headers["retry-after-ms"])
        missing = claim.amount + admitted * 1000 - 2000
        assert missing * 30 <= wait_ms <= (missing + 400) * 30, "2,000 tokens a minute: 30 ms each"
        assert running.admissions.conservation().imbalance == 0


async def test_waiting_as_told_admits(start: Start) -> None:
    """A call that is alone and waits as long as the 429 said is admitted."""
    async with start(GATEWAY_DEFAULT_RPM="120") as running:
        now = 1_000_000
        running.admissions._clock = lambda: now
        _, key = await running.key(await running.default_workspace())
        for _ in range(120):
            assert (await running.chat(key)).status_code == 200
        refused = await running.chat(key)
        assert refused.json()["error"]["code"] == "limit_requests"
        now += int(refused.headers["retry-after-ms"]) * 1000
        assert (await running.chat(key)).status_code == 200


async def test_two_workspaces_share_the_account(start: Start) -> None:
    """Together, two workspaces never pass the account's limit, nor one its own."""
    async with start(GATEWAY_DEFAULT_RPM="50") as running:
        running.admissions._clock = lambda: 1_000_000
        keys = []
        for name, rpm in (("one", 40), ("two", 30)):
            workspace = await running.workspace(name)
            put = await running.admin.put(f"/admin/v1/workspaces/{workspace}/grants/m", json={"rpm": rpm, "tpm": None})
            assert put.status_code in (200, 201), put.text
            keys.append((await running.key(workspace))[1])
        one, two = await asyncio.gather(*(_storm(running, key) for key in keys))
        assert one[200] <= 40
        assert two[200] <= 30
        assert one[200] + two[200] == 50
