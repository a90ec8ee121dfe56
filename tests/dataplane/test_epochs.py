"""A change that was acknowledged holds for every call that starts later."""

import asyncio
import json

import pytest

from gateway.domain.admission import Ask, Decision
from gateway.domain.grants import KeyStatus, Limits, Model
from gateway.storage.memory.admission import MemoryAdmissions
from tests.dataplane.fakes import RecordingExchange
from tests.dataplane.world import ACCOUNT, MODEL, completion, until, world


def _code(exchange: RecordingExchange) -> object:
    return json.loads(exchange.text)["error"]["code"]


async def test_a_stale_principal_is_read_again_and_the_call_admitted() -> None:
    """A change that leaves the caller its rights costs it one read, not an error."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        assert (await w.call()).status == 200
        await w.change()
        assert (await w.call()).status == 200
        assert (await w.call()).status == 200
        assert w.keys.reads == 2
        assert b"gateway_stale_epochs_total 1.0" in w.metrics.render()


@pytest.mark.parametrize("gone", [True, False])
async def test_a_deleted_or_disabled_key_is_out_with_the_next_call(gone: bool) -> None:
    """No call that starts after a delete or disable was acknowledged passes, however fresh the cached key is."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        assert (await w.call()).status == 200
        await w.change(gone=gone, status=KeyStatus.DISABLED)
        for path, method in (("/chat/completions", "POST"), ("/models", "GET"), ("/nowhere", "POST")):
            exchange = await w.call(path="/compatible-mode/v1" + path, method=method)
            assert (exchange.status, _code(exchange)) == (401, "invalid_api_key")
        assert len(w.upstreams.sent) == 1
        assert len(w.ledger.rows) == 1


async def test_a_key_known_to_be_disabled_is_refused_before_its_body_is_read() -> None:
    """Nobody with a dead key makes the gateway keep a body."""
    async with world() as w:
        w.store.rows[w.key.digest] = w.principal(status=KeyStatus.DISABLED)
        exchange = await w.call()
        assert exchange.status == 401
        assert not exchange.body_asked


async def test_an_enabled_key_works_at_once() -> None:
    """A refusal is confirmed before it is given: a key enabled a moment ago is not refused from the cache."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        w.store.rows[w.key.digest] = w.principal(status=KeyStatus.DISABLED)
        assert (await w.call()).status == 401
        await w.change(status=KeyStatus.ACTIVE)
        assert (await w.call()).status == 200


async def test_a_new_grant_works_at_once_and_a_withdrawn_one_no_longer() -> None:
    """A 403 rests on the present grants, and so does a pass."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        key = w.add_key("ak-sub", workspace_id="llm-sub", is_default=False)
        refused = await w.call(key=key.text)
        assert (refused.status, _code(refused)) == (403, "Model.AccessDenied")
        await w.change(key, grants={MODEL: Limits()})
        assert (await w.call(key=key.text)).status == 200
        await w.change(key, grants={})
        assert (await w.call(key=key.text)).status == 403


async def test_a_model_of_a_moment_ago_is_found() -> None:
    """A 404 rests on the present catalogue, which is at least as new as the principal; unknown names are asked for once."""
    async with world() as w:
        w.upstreams.serve("new", completion())
        refused = await w.call({"model": "new"})
        assert (refused.status, _code(refused)) == (404, "model_not_found")
        w.catalogue.known["new"] = Model("new")
        await w.change(catalogue_version=2)
        assert (await w.call({"model": "new"})).status == 200
        assert w.catalogue.versions == [1, 2]
        w.catalogue.hidden["listed"] = Model("listed")
        w.upstreams.serve("listed", completion(), upstream="up-2")
        assert (await w.call({"model": "listed"})).status == 200
        assert w.catalogue.discovered == ["new", "listed"]


async def test_new_limits_hold_for_the_next_call() -> None:
    """A limit set a moment ago is the one that the next call meets."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        assert (await w.call()).header("x-ratelimit-limit-requests") is None
        await w.change(account_limits={MODEL: Limits(rpm=1)})
        assert (await w.call()).header("x-ratelimit-limit-requests") == "1"
        assert (await w.call()).status == 429


class _Restless(MemoryAdmissions):
    """The policy changes whenever it is asked about."""

    async def admit(self, ask: Ask) -> Decision:
        await self.raise_epochs({ACCOUNT: ask.epoch + 1})
        return await super().admit(ask)


async def test_a_policy_that_keeps_changing_is_a_503_after_three_rounds() -> None:
    """Nobody is let through on a policy that does not hold, nor kept asking for ever."""
    async with world(admissions=_Restless) as w:
        w.upstreams.serve(MODEL, completion())
        exchange = await w.call()
        assert (exchange.status, _code(exchange)) == (503, "ServiceUnavailable")
        assert exchange.header("retry-after-ms")
        assert w.keys.reads == 4
        assert w.upstreams.sent == []
        assert w.ledger.rows == []
        w.at_rest()


async def test_a_stale_key_without_its_store_is_a_503() -> None:
    """When the store is away a changed key is neither let in on its old rights nor refused for good."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        assert (await w.call()).status == 200
        w.store.away = True
        assert (await w.call()).status == 200
        await w.change()
        exchange = await w.call()
        assert exchange.status == 503
        assert exchange.header("retry-after-ms")
        assert len(w.upstreams.sent) == 2


@pytest.mark.parametrize("gone", [True, False])
async def test_no_call_slips_through_a_change_under_load(gone: bool) -> None:
    """While calls keep coming, whichever starts after the change was acknowledged is refused."""
    async with world() as w:
        w.upstreams.serve(MODEL, *(completion() for _ in range(300)))
        acknowledged = asyncio.Event()
        late: list[int] = []

        async def caller() -> None:
            for _ in range(20):
                after = acknowledged.is_set()
                status = (await w.call()).status
                if after:
                    late.append(status)
                await asyncio.sleep(0)

        async def change() -> None:
            await until(lambda: len(w.upstreams.sent) > 20)
            await w.change(gone=gone, status=KeyStatus.DISABLED)
            acknowledged.set()

        await asyncio.gather(change(), *(caller() for _ in range(10)))
        assert late
        assert set(late) == {401}
        w.at_rest()


async def test_the_usable_models_are_the_ones_that_may_be_called() -> None:
    """`GET models` shows a caller what enforcement lets it call, and nothing of what others may."""
    async with world() as w:
        w.catalogue.known |= {name: Model(name) for name in ("granted", "org/other")}
        for name in w.catalogue.known:
            w.upstreams.serve(name, completion(), completion(), upstream=f"up-{name}")
        sub = w.add_key("ak-sub", workspace_id="llm-sub", is_default=False, grants={"granted": Limits(), "gone": Limits()})
        narrow = w.add_key("ak-narrow", key_models=frozenset({"org/other"}))
        for key, names in ((w.key, ["granted", MODEL, "org/other"]), (sub, ["granted"]), (narrow, ["org/other"])):
            listed = await w.call(method="GET", path="/compatible-mode/v1/models", key=key.text)
            assert [row["id"] for row in json.loads(listed.text)["data"]] == names
            for name in w.catalogue.known:
                quoted = name.replace("/", "%2F")
                one = await w.call(method="GET", path=f"/compatible-mode/v1/models/{quoted}", key=key.text)
                assert one.status == (200 if name in names else 404)
                assert (await w.call({"model": name}, key=key.text)).status == (200 if name in names else 403)
