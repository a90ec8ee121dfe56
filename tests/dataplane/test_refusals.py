"""Refused calls are counted for whoever made them, and nothing else is."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.dataplane.admit import OpenAtOnce
from gateway.domain.admission import Ask, Decision
from gateway.domain.credentials import KeyKind, generate
from gateway.domain.errors import InvalidKey
from gateway.domain.faults import LimitsUnavailable, UpstreamFault
from gateway.domain.grants import KeyStatus, Limits, Model
from gateway.storage.memory.admission import MemoryAdmissions
from tests.dataplane.world import MODEL, PEPPER, World, completion, events, until, world

MODELS = "/compatible-mode/v1/models"


async def disabled(w: World) -> None:
    w.store.rows[w.key.digest] = w.principal(status=KeyStatus.DISABLED)
    await w.call()


async def deleted(w: World) -> None:
    w.upstreams.serve(MODEL, completion())
    await w.call()
    await w.change(gone=True)
    await w.call()


async def not_granted(w: World) -> None:
    await w.call(key=w.add_key("ak-sub", workspace_id="llm-sub", is_default=False).text)


async def unknown_model(w: World) -> None:
    await w.call({"model": "one of many that a caller can think of"})


async def unknown_model_retrieved(w: World) -> None:
    await w.call(method="GET", path=f"{MODELS}/nobody's")


async def model_retrieved_that_is_not_granted(w: World) -> None:
    await w.call(method="GET", path=f"{MODELS}/{MODEL}", key=w.add_key("ak-narrow", key_models=frozenset()).text)


async def model_of_another_kind(w: World) -> None:
    w.catalogue.known["e"] = Model("e", type="embedding")
    await w.call({"model": "e"})


async def model_not_listed_yet(w: World) -> None:
    w.catalogue.is_whole = False
    await w.call({"model": "nobody's"})


async def too_many_requests(w: World) -> None:
    w.upstreams.serve(MODEL, completion())
    for _ in range(3):
        await w.call()


async def too_many_of_the_workspace(w: World) -> None:
    w.upstreams.serve(MODEL, completion())
    key = w.add_key(
        "ak-sub",
        workspace_id="llm-sub",
        is_default=False,
        grants={MODEL: Limits(rpm=1, tpm=1000)},
        account_limits={MODEL: Limits(rpm=9)},
    )
    for _ in range(2):
        await w.call(key=key.text)


async def too_many_tokens(w: World) -> None:
    w.upstreams.serve(MODEL, completion())
    key = w.add_key(
        "ak-sub",
        workspace_id="llm-sub",
        is_default=False,
        grants={MODEL: Limits(rpm=9, tpm=9)},
        account_limits={MODEL: Limits(rpm=9)},
    )
    for _ in range(2):
        await w.call(key=key.text)


async def too_many_bodies(w: World) -> None:
    with w.bodies.hold() as one, w.bodies.hold() as other:
        one.add(1 << 20)
        other.add((1 << 20) - 1)
        await w.call()


async def limits_away(w: World) -> None:
    async def away(ask: Ask) -> Decision:
        raise LimitsUnavailable(ask.call_id)

    w.admissions.admit = away  # type: ignore[method-assign]
    await w.call()


@pytest.mark.parametrize(
    ("cause", "rows"),
    [
        (disabled, [("ak-1", "", "invalid_api_key")]),
        (deleted, [("ak-1", MODEL, "invalid_api_key")]),
        (not_granted, [("ak-sub", MODEL, "Model.AccessDenied")]),
        (unknown_model, [("ak-1", "", "model_not_found")]),
        (unknown_model_retrieved, [("ak-1", "", "model_not_found")]),
        (model_retrieved_that_is_not_granted, [("ak-narrow", MODEL, "model_not_found")]),
        (model_of_another_kind, [("ak-1", "e", "model_not_supported")]),
        (model_not_listed_yet, [("ak-1", "", "ModelUnavailable")]),
        (too_many_requests, [("ak-1", MODEL, "limit_requests:account")] * 2),
        (too_many_of_the_workspace, [("ak-sub", MODEL, "limit_requests:workspace")]),
        (too_many_tokens, [("ak-sub", MODEL, "insufficient_quota:workspace")]),
        (too_many_bodies, [("ak-1", "", "ServiceUnavailable")]),
        (limits_away, [("ak-1", MODEL, "ServiceUnavailable")]),
    ],
)
async def test_a_refused_call_counts(cause: Callable[[World], Awaitable[None]], rows: list[tuple[str, str, str]]) -> None:
    """Whoever is kept out can be told by which key, for which model and why; a name that is no model's is left out, so that
    nobody fills a table with names."""
    async with world(limits=Limits(rpm=1)) as w:
        await cause(w)
        assert w.refusals.rows == rows


async def test_too_many_at_once_count() -> None:
    """A call that found no place among those open at once is one that limits kept out."""
    async with world(open_at_once=OpenAtOnce(key=1)) as w:
        hold = asyncio.Event()
        w.upstreams.serve(MODEL, events(hold))
        first = w.begin(w.exchange({"model": MODEL, "stream": True}))
        await until(lambda: w.upstreams.sent)
        await w.call()
        hold.set()
        await first
        assert w.refusals.rows == [("ak-1", MODEL, "limit_concurrency:key")]


async def _serve(w: World) -> None:
    w.upstreams.serve(MODEL, completion())
    await w.call()


async def _no_upstream(w: World) -> None:
    await w.call()


async def _upstream_away(w: World) -> None:
    w.upstreams.serve(MODEL, UpstreamFault("refused", reached=False))
    await w.call()


async def _broken_body(w: World) -> None:
    await w.call(b"{")


async def _large_body(w: World) -> None:
    await w.call(b" " * ((1 << 20) + 1))


async def _unknown_path(w: World) -> None:
    await w.call(path="/compatible-mode/v1/nowhere")


async def _other_method(w: World) -> None:
    await w.call(method="GET")


async def _unknown_key(w: World) -> None:
    await w.call(key=generate(KeyKind.STANDARD, PEPPER).text)


async def _no_key(w: World) -> None:
    await w.call(key="")


async def _store_away(w: World) -> None:
    w.store.away = True
    await w.call()


@pytest.mark.parametrize(
    "cause",
    [
        _serve,
        _no_upstream,
        _upstream_away,
        _broken_body,
        _large_body,
        _unknown_path,
        _other_method,
        _unknown_key,
        _no_key,
        _store_away,
    ],
)
async def test_other_calls_do_not_count(cause: Callable[[World], Awaitable[None]]) -> None:
    """What the ledger has a row of, what is no call to anything, and what nobody known has sent, is no refused call."""
    async with world() as w:
        await cause(w)
        assert w.refusals.rows == []


class _Slow(MemoryAdmissions):
    """Takes its time before a decision, once `hold` is there."""

    hold: asyncio.Event | None = None

    async def admit(self, ask: Ask) -> Decision:
        if self.hold is not None:
            await self.hold.wait()
        return await super().admit(ask)


async def test_a_call_that_is_cut_before_it_was_admitted_counts() -> None:
    """A key that is withdrawn while its call waits is a refusal like any other."""
    async with world(admissions=_Slow) as w:
        assert isinstance(w.admissions, _Slow)
        w.admissions.hold = asyncio.Event()
        running = w.begin(w.exchange({"model": MODEL, "stream": True}))
        await until(lambda: len(w.open_calls))
        ((call, task),) = w.open_calls._calls.values()
        call.cut = InvalidKey("withdrawn")
        task.cancel()
        assert (await running).status == 401
        assert w.refusals.rows == [("ak-1", MODEL, "invalid_api_key")]
