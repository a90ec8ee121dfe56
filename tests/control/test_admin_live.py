"""How full an account's buckets are, and who drives that, through the admin API."""

from collections.abc import Sequence

import pytest

from gateway.domain.admission import Fill, Levels
from gateway.domain.buckets import Claim
from gateway.domain.faults import LimitsUnavailable
from gateway.domain.grants import Limits
from tests.control.admin_api import Control
from tests.control.live_world import MINUTE_MS, MODEL, Live, begin, buckets, causes
from tests.control.people_world import add_account, add_person, browser, held, owner

WHOLE = Limits(rpm=60, tpm=1000)
PART = Limits(rpm=10, tpm=500)


@pytest.fixture
async def live(control: Control) -> Live:
    """The default account has 60 requests and 1,000 tokens a minute."""
    await control.put(f"/accounts/{control.account_id}/limits/{MODEL}", {"rpm": 60, "tpm": 1000})
    return begin(control)


async def granted(live: Live, name: str = "team", limits: Limits = PART) -> str:
    workspace = await live.control.sub_workspace(name)
    body = {"rpm": limits.rpm, "tpm": limits.tpm}
    assert (await live.control.put(f"/workspaces/{workspace}/grants/{MODEL}", body)).status_code == 201
    return workspace


async def test_buckets_are_shown_as_they_are(live: Live) -> None:
    """What calls took from the account's and the workspace's buckets is what is shown, a debt as more than all."""
    team = await granted(live)
    call = await live.take(*live.of_workspace(team, PART, 400), *live.of_account(WHOLE, 400))
    await live.take(*live.of_workspace(team, PART, 90), *live.of_account(WHOLE, 90))
    await live.calls(team, "ak-1")
    found = await live.read()
    assert (found["source"], found["open_calls"]) == ("memory", 2)
    [model] = found["models"]
    [within] = model["workspaces"]
    assert buckets(model) == {"rpm": (2, 60), "tpm": (490, 1000)}
    assert buckets(within) == {"rpm": (2, 10), "tpm": (490, 500)}
    assert model["buckets"][0] | {"reset_ms": 0} == {"limit": "rpm", "per_minute": 60, "capacity": 60, "used": 2, "reset_ms": 0}
    assert model["buckets"][0]["reset_ms"] == 2000

    live.admissions.settle(live.control.account_id, call, 700)
    found = await live.read()
    assert found["open_calls"] == 1
    assert buckets(found["models"][0])["tpm"] == (790, 1000)
    assert buckets(found["models"][0]["workspaces"][0])["tpm"] == (790, 500)


async def test_the_default_workspace_has_no_bucket_of_its_own(live: Live) -> None:
    """Calls of the default workspace are listed, with no limits but the account's; so are those of a grant without limits."""
    free = await granted(live, "free", Limits())
    for workspace in (live.control.workspace_id, free):
        await live.calls(workspace, "ak-1")
    [model] = (await live.read())["models"]
    assert [(each["name"], each["buckets"]) for each in model["workspaces"]] == [("Default Workspace", []), ("free", [])]
    assert buckets(model) == {"rpm": (0, 60), "tpm": (0, 1000)}


async def test_an_open_increase_counts(live: Live) -> None:
    """While an increase is open, buckets are shown with what it raises them to, and a model without limits shows none."""
    body = {"model": MODEL, "rpm": 90, "minutes": 5, "reason": "launch"}
    assert (await live.control.post(f"/accounts/{live.control.account_id}/increases", body)).status_code == 201
    await live.control.put("/models/free", {})
    for model in (MODEL, "free"):
        await live.calls(live.control.workspace_id, "ak-1", model)
    free, raised = (await live.read())["models"]
    assert buckets(raised) == {"rpm": (0, 90), "tpm": (0, 1000)}
    assert (free["model"], free["buckets"]) == ("free", [])


async def test_calls_are_told_by_whom_and_why(live: Live) -> None:
    """Calls of five minutes are summed for all, by model, by workspace and by key; refused ones also by whose limit it was."""
    team, other = await granted(live), await granted(live, "other")
    key = (await live.control.post(f"/workspaces/{team}/api-keys", {"description": "Batch"})).json()
    await live.calls(team, key["id"], count=3)
    await live.calls(team, key["id"], outcome="upstream_error", input_tokens=0, output_tokens=0)
    await live.calls(other, "ak-gone", ago_ms=5 * MINUTE_MS)
    await live.calls(other, "ak-gone", ago_ms=6 * MINUTE_MS)
    await live.refused(team, key["id"], "limit_requests:workspace", count=5)
    await live.refused(team, key["id"], "insufficient_quota:account", count=2)
    await live.refused(team, key["id"], "limit_requests:workspace", ago_ms=6 * MINUTE_MS)
    await live.refused(other, "ak-gone", "model_not_found", "")
    found = await live.read()
    assert found["since"] == "2023-11-14T22:08:00.000Z"
    assert (found["admitted"], found["failures"], found["tokens"], found["refused"]) == (5, 1, 60, 8)
    why = [("limit_requests", "workspace", 5), ("insufficient_quota", "account", 2)]
    assert causes(found) == [*why, ("model_not_found", None, 1)]
    [model] = found["models"]
    assert (model["admitted"], model["refused"], model["tokens"], causes(model)) == (5, 7, 60, why)
    assert [(each["name"], each["admitted"], each["refused"]) for each in model["workspaces"]] == [
        ("other", 1, 0),
        ("team", 4, 7),
    ]
    first, second, third = found["drivers"]
    assert (first["key_id"], first["masked"], first["description"]) == (key["id"], key["masked"], "Batch")
    assert (first["workspace_name"], first["model"], first["admitted"], first["refused"]) == ("team", MODEL, 4, 7)
    assert causes(first) == why
    gone = {(each["key_id"], each["masked"], each["description"], each["model"]) for each in (second, third)}
    assert gone == {("ak-gone", None, "", MODEL), ("ak-gone", None, "", "")}


async def test_nothing_happened(live: Live) -> None:
    """Without a call there is nothing to list, and the sums are zero."""
    await live.calls(live.control.workspace_id, "ak-1", ago_ms=10 * MINUTE_MS)
    found = await live.read()
    assert (found["models"], found["drivers"], found["admitted"], found["refused"]) == ([], [], 0, 0)


async def test_one_sees_only_ones_own_workspaces(live: Live) -> None:
    """Whoever sees one workspace of an account sees the account's buckets, and no call, key or name of another workspace."""
    account = live.control.account_id
    team, other = await granted(live), await granted(live, "secret plans")
    await live.take(*live.of_workspace(other, PART, 100), *live.of_account(WHOLE, 100))
    await live.control.put("/models/hidden", {"rpm": 5})
    await live.calls(team, "ak-1")
    await live.calls(other, "ak-2", count=3)
    await live.calls(other, "ak-2", "hidden")
    await live.refused(other, "ak-2", "limit_requests:workspace")
    viewer = await add_person(live.control, held("viewer", account, team))
    async with browser(live.control, viewer) as page:
        reply = await page.get(f"/admin/v1/accounts/{account}/live")
    found = reply.json()
    assert (found["admitted"], found["refused"], found["open_calls"]) == (1, 0, None)
    [model] = found["models"]
    assert buckets(model) == {"rpm": (1, 60), "tpm": (100, 1000)}
    assert [each["name"] for each in model["workspaces"]] == ["team"]
    assert [each["key_id"] for each in found["drivers"]] == ["ak-1"]
    for hidden in (other, "secret plans", "ak-2", "hidden"):
        assert hidden not in reply.text

    chief = await add_person(live.control, owner(account))
    async with browser(live.control, chief) as page:
        assert (await page.get(f"/admin/v1/accounts/{account}/live")).json()["admitted"] == 5
    elsewhere, _ = await add_account(live.control)
    stranger = await add_person(live.control, owner(elsewhere))
    async with browser(live.control, stranger) as page:
        for path in ("live", "live/events"):
            assert (await page.get(f"/admin/v1/accounts/{account}/{path}")).status_code == 404
    assert (await live.control.get("/accounts/acc-none/live")).status_code == 404


async def test_only_the_busiest_are_listed(live: Live) -> None:
    """However many models, workspaces and keys there are, the busiest of each are listed, and it is said how many are not."""
    home = live.control.workspace_id
    rows = [row for number in range(53) for row in live.rows(home, "ak-1", f"m{number:02}", count=1 + (number > 2))]
    rows += [row for number in range(22) for row in live.rows(f"llm-{number}", f"ak-{number}", "m50", count=1 + (number > 1))]
    await live.store(rows)
    found = await live.read()
    assert (len(found["models"]), found["more_models"]) == (50, 3)
    assert [each["model"] for each in found["models"]] == [f"m{number:02}" for number in range(3, 53)]
    [crowded] = [each for each in found["models"] if each["model"] == "m50"]
    assert (len(crowded["workspaces"]), crowded["more_workspaces"]) == (20, 3)
    assert crowded["admitted"] == 2 + 2 + 2 * 20
    assert len(found["drivers"]) == 10


class Elsewhere:
    """Buckets that somebody else keeps: each process a quarter of every limit, or nobody."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away

    async def levels(self, account_id: str, claims: Sequence[Claim]) -> Levels:
        if self.away:
            raise LimitsUnavailable(account_id)
        shares = [
            Claim(*(each.level, each.kind, each.owner, each.model), each.limit // 4, each.capacity // 4, 1) for each in claims
        ]
        return Levels(tuple(Fill(each, each.capacity - 5, 1500) for each in shares), 1, "local")


async def test_redis_is_away(live: Live) -> None:
    """While Redis is away it is said whose share is shown, or that nobody keeps limits; calls show as ever."""
    await live.calls(live.control.workspace_id, "ak-1")
    live.keep(Elsewhere())
    found = await live.read()
    assert (found["source"], found["open_calls"], buckets(found["models"][0])) == ("local", 1, {"rpm": (5, 15), "tpm": (5, 250)})
    live.keep(Elsewhere(away=True))
    found = await live.read()
    assert (found["source"], found["open_calls"], found["models"][0]["buckets"], found["admitted"]) == ("none", None, [], 1)
