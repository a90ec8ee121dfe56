"""How many calls may be open at once: of an account, a sub-workspace, a key."""

import asyncio

import pytest

from gateway.dataplane.admit import OpenAtOnce
from gateway.domain.grants import Limits
from tests.dataplane.world import COMPLETION, MODEL, World, completion, reply, until, world


async def _open(w: World) -> tuple[asyncio.Event, asyncio.Task[object]]:
    """A call that is open until the event is set."""
    end = asyncio.Event()
    w.upstreams.serve(MODEL, reply(200, [COMPLETION[:5], end, COMPLETION[5:]]))
    before = len(w.open_calls)
    task: asyncio.Task[object] = asyncio.create_task(w.call())
    await until(lambda: len(w.open_calls) == before + 1 and w.upstreams.sent)
    return end, task


@pytest.mark.parametrize("most", [OpenAtOnce(account=1), OpenAtOnce(key=1)])
async def test_one_more_is_refused_until_one_has_ended(most: OpenAtOnce) -> None:
    """A 429 that says so, without a token or a request taken; with the call's end there is room again."""
    async with world(open_at_once=most, limits=Limits(rpm=10, tpm=1000)) as w:
        end, task = await _open(w)
        refused = await w.call()
        assert refused.status == 429
        assert b'"limit_concurrency"' in refused.text
        assert dict(refused.reply_headers)[b"retry-after-ms"] == b"1000"
        end.set()
        await task
        w.upstreams.serve(MODEL, completion())
        answered = await w.call()
        assert answered.status == 200
        assert dict(answered.reply_headers)[b"x-ratelimit-remaining-requests"] == b"8"
        w.at_rest()


async def test_the_default_workspace_has_no_limit_of_a_sub_workspace() -> None:
    """What is set for sub-workspaces does not hold the default one."""
    async with world(open_at_once=OpenAtOnce(workspace=1)) as w:
        first, one = await _open(w)
        second, two = await _open(w)
        for end, task in ((first, one), (second, two)):
            end.set()
            await task
        w.at_rest()


async def test_a_place_is_counted_without_other_limits_and_after_a_refusal() -> None:
    """The places of calls that were refused or failed are free."""
    async with world(open_at_once=OpenAtOnce(key=1)) as w:
        for status in (500, 200, 400, 200):
            w.upstreams.serve(MODEL, reply(status, COMPLETION))
            assert (await w.call()).status == status
        w.at_rest()
