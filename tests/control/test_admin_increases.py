"""Temporary increases of an account's limits through the admin API."""

from typing import Any

import pytest

from gateway.storage.sql.increases import end_due
from tests.control.admin_api import Control
from tests.control.people_world import OPERATOR, add_account, add_person, add_workspace, browser, held, owner

REASON = "Load test of the launch"
MINUTE_MS = 60_000


async def limited(control: Control, **limits: int) -> str:
    """The path of the default account, whose limits for `served-model` are these."""
    path = f"/accounts/{control.account_id}"
    reply = await control.put(f"{path}/limits/served-model", limits)
    assert reply.status_code == 200, reply.text
    return path


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "served-model", "reason": REASON, "minutes": 60, **fields}


async def limits_of(control: Control) -> dict[str, Any]:
    rows = (await control.get(f"/accounts/{control.account_id}/limits")).json()["data"]
    return next(row for row in rows if row["model"] == "served-model")


async def test_an_increase_holds_until_it_is_ended(control: Control) -> None:
    """An increase raises what it names from its acknowledgement on, ends when somebody says so, and stays in the history."""
    path = await limited(control, rpm=60, tpm=1000)
    control.epochs.raised.clear()
    reply = await control.post(f"{path}/increases", body(rpm=90))
    made = reply.json()
    assert reply.status_code == 201, reply.text
    assert (made["rpm"], made["tpm"], made["base"], made["state"]) == (90, None, {"rpm": 60, "tpm": 1000}, "open")
    assert (made["reason"], made["created_by"], made["ended_at"]) == (REASON, "admin token", None)
    assert len(control.epochs.raised) == 1
    now = await limits_of(control)
    assert (now["rpm"], now["tpm"], now["source"]) == (90, 1000, "increase")
    assert (await control.get(f"{path}/increases?state=open")).json()["data"] == [made]
    assert (await control.get(f"{path}/increases?state=ended")).json()["data"] == []

    assert (await control.delete(f"{path}/increases/{made['id']}")).status_code == 204
    assert (await control.delete(f"{path}/increases/{made['id']}")).status_code == 404
    assert len(control.epochs.raised) == 2
    now = await limits_of(control)
    assert (now["rpm"], now["tpm"], now["source"]) == (60, 1000, "account")
    assert (await control.get(f"{path}/increases?state=open")).json()["data"] == []
    [past] = (await control.get(f"{path}/increases?model=served-model&state=ended")).json()["data"]
    assert (past["state"], past["ended_by"]) == ("ended_early", "admin token")
    assert past["ended_at"] is not None
    assert (await control.get(f"{path}/increases?model=other")).json()["data"] == []


async def test_each_step_is_in_the_audit_trail(control: Control) -> None:
    """Who raised a limit and why, and who ended it, stands in the audit trail with what was so before."""
    path = await limited(control, rpm=60)
    made = (await control.post(f"{path}/increases", body(rpm=90))).json()
    await control.delete(f"{path}/increases/{made['id']}")
    ended, begun, *_ = (await control.get("/audit")).json()["data"]
    assert (begun["action"], begun["target"], begun["account_id"]) == (
        "limits.increase",
        f"{control.account_id}/served-model",
        control.account_id,
    )
    assert begun["before"] == {"rpm": 60, "tpm": None}
    assert begun["after"] | {"ends_at": ""} == {"id": made["id"], "rpm": 90, "tpm": None, "ends_at": "", "reason": REASON}
    assert (ended["action"], ended["before"]["id"], ended["after"]) == ("limits.increase_end", made["id"], None)


async def test_it_ends_by_itself(control: Control) -> None:
    """At its time an increase ends, whoever is there, and the history says that it did so by itself."""
    path = await limited(control, rpm=60)
    made = (await control.post(f"{path}/increases", body(rpm=90, minutes=1))).json()
    services = control.services
    control.clock.now += MINUTE_MS - 100
    assert await end_due(services.policy, services.engine, services.now_ms()) == 0
    control.clock.now += 200
    assert await end_due(services.policy, services.engine, services.now_ms()) == 1
    assert (await limits_of(control))["rpm"] == 60
    [past] = (await control.get(f"{path}/increases")).json()["data"]
    assert (past["id"], past["state"], past["ended_by"]) == (made["id"], "ended", None)


async def test_a_second_one_waits_for_the_first(control: Control) -> None:
    """Of each model one increase is open at a time; the refusal says until when, and another model is free."""
    path = await limited(control, rpm=60)
    first = (await control.post(f"{path}/increases", body(rpm=90))).json()
    reply = await control.post(f"{path}/increases", body(rpm=120))
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")
    assert first["ends_at"][:19] in reply.json()["detail"]
    assert (await limits_of(control))["rpm"] == 90
    assert (await control.put("/models/other", {"rpm": 10})).status_code == 201
    assert (await control.post(f"{path}/increases", body(model="other", rpm=20))).status_code == 201
    await control.delete(f"{path}/increases/{first['id']}")
    assert (await control.post(f"{path}/increases", body(rpm=120))).status_code == 201
    pages = []
    cursor = ""
    for _ in range(3):
        page = (await control.get(f"{path}/increases?limit=1{cursor}")).json()
        pages += [(row["model"], row["state"]) for row in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert pages == [("served-model", "open"), ("other", "open"), ("served-model", "ended_early")]
    assert page["next_cursor"] is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "rpm"),
        ({"rpm": 60}, "rpm"),
        ({"rpm": 59}, "rpm"),
        ({"rpm": 0}, "rpm"),
        ({"rpm": 100_000_001}, "rpm"),
        ({"rpm": 90, "tpm": 10}, "tpm"),
        ({"rpm": "90"}, "rpm"),
        ({"rpm": 90, "minutes": 0}, "minutes"),
        ({"rpm": 90, "minutes": 31 * 24 * 60 + 1}, "minutes"),
        ({"rpm": 90, "minutes": None}, "minutes"),
        ({"rpm": 90, "ends_at": "2023-11-15T00:00:00Z"}, "minutes"),
        ({"rpm": 90, "minutes": None, "ends_at": "2023-11-14T22:00:00Z"}, "ends_at"),
        ({"rpm": 90, "minutes": None, "ends_at": "2023-12-16T00:00:00Z"}, "ends_at"),
        ({"rpm": 90, "minutes": None, "ends_at": "2023-11-15T00:00:00"}, "ends_at"),
        ({"rpm": 90, "minutes": None, "ends_at": "tomorrow"}, "ends_at"),
        ({"rpm": 90, "reason": " "}, "reason"),
        ({"rpm": 90, "reason": "x" * 201}, "reason"),
        ({"rpm": 90, "reason": None}, "reason"),
        ({"rpm": 90, "account_id": "acc-x"}, "account_id"),
        ({"rpm": 90, "model": ""}, "model"),
    ],
)
async def test_what_raises_nothing_is_refused(control: Control, fields: dict[str, Any], param: str) -> None:
    """An increase that is none, that nobody may set, that has no end within 31 days or no reason is refused at its field."""
    path = await limited(control, rpm=60)
    reply = await control.post(f"{path}/increases", body(**fields))
    assert reply.status_code == 400, reply.text
    assert [error["param"] for error in reply.json()["errors"]] == [param]
    assert (await control.get(f"{path}/increases")).json()["data"] == []


async def test_it_lasts_until_a_moment_too(control: Control) -> None:
    """The end may be given as a moment, to the millisecond, up to 31 days ahead."""
    path = await limited(control, rpm=60)
    reply = await control.post(f"{path}/increases", body(rpm=90, minutes=None, ends_at="2023-12-15T22:00:00.250+00:00"))
    assert (reply.status_code, reply.json()["ends_at"]) == (201, "2023-12-15T22:00:00.250Z")


async def test_unknown_places_are_not_found(control: Control) -> None:
    """An account, a model or an increase that does not exist is a 404, also an increase of another account."""
    path = await limited(control, rpm=60)
    made = (await control.post(f"{path}/increases", body(rpm=90))).json()
    other, _ = await add_account(control)
    assert (await control.post("/accounts/acc-none/increases", body(rpm=90))).status_code == 404
    assert (await control.get("/accounts/acc-none/increases")).status_code == 404
    assert (await control.post(f"{path}/increases", body(model="no-such", rpm=90))).status_code == 404
    assert (await control.delete(f"{path}/increases/inc-none")).status_code == 404
    assert (await control.delete(f"/accounts/{other}/increases/{made['id']}")).status_code == 404
    assert (await limits_of(control))["rpm"] == 90


async def test_grants_are_held_to_the_limits_without_it(control: Control) -> None:
    """What a workspace is granted has to be true when the increase is over, so it may not exceed the limits without it."""
    path = await limited(control, rpm=60, tpm=1000)
    workspace = await control.sub_workspace()
    assert (await control.post(f"{path}/increases", body(rpm=90, tpm=2000))).status_code == 201
    grant = f"/workspaces/{workspace}/grants/served-model"
    assert (await control.put(grant, {"rpm": 61})).status_code == 400
    assert (await control.put(grant, {"rpm": 60, "tpm": 1001})).status_code == 400
    assert (await control.put(grant, {"rpm": 60, "tpm": 1000})).status_code == 201


async def test_it_never_lowers(control: Control) -> None:
    """Nobody sets an account's own limits to where an open increase, which comes first, would hold them down."""
    await control.put("/models/served-model", {"rpm": 500})
    path = await limited(control, rpm=60)
    made = (await control.post(f"{path}/increases", body(rpm=90))).json()
    own = f"{path}/limits/served-model"
    for limits in ({"rpm": 90}, {"rpm": 100}, {}):
        assert (await control.put(own, limits)).status_code == 409, limits
    assert (await control.delete(own)).status_code == 409
    reply = await control.put(own, {"rpm": 80})
    assert (reply.status_code, reply.json()["rpm"], reply.json()["source"]) == (200, 90, "increase")
    await control.delete(f"{path}/increases/{made['id']}")
    assert (await control.put(own, {"rpm": 100})).json()["rpm"] == 100
    assert (await control.delete(own)).status_code == 204


async def test_only_operators_raise_limits(control: Control) -> None:
    """Whoever sees an account reads its increases; raising and ending is for operators; others do not learn of the account."""
    account_id, _ = await add_account(control)
    workspace = await add_workspace(control, account_id)
    await control.put("/models/served-model", {"rpm": 60})
    path = f"/accounts/{account_id}/increases"
    operator = await add_person(control, OPERATOR)
    async with browser(control, operator) as page:
        made = (await page.send("POST", path, body(rpm=90))).json()
        assert made["created_by"] == operator.email
    for given in (owner(account_id), held("viewer", account_id, workspace), held("admin", account_id, workspace)):
        person = await add_person(control, given)
        async with browser(control, person) as page:
            assert [row["id"] for row in (await page.send("GET", path)).json()["data"]] == [made["id"]]
            assert (await page.send("POST", path, body(rpm=120))).status_code == 403
            assert (await page.send("DELETE", f"{path}/{made['id']}")).status_code == 403
    stranger = await add_person(control, owner(control.account_id))
    async with browser(control, stranger) as page:
        assert (await page.send("GET", path)).status_code == 404
        assert (await page.send("DELETE", f"{path}/{made['id']}")).status_code == 403


async def test_an_end_that_is_not_in_force_is_no_success(control: Control) -> None:
    """While limits cannot be reached an end is saved and answered 503, and its repetition tells success only once it holds."""
    path = await limited(control, rpm=60)
    made = (await control.post(f"{path}/increases", body(rpm=90))).json()
    control.epochs.away = True
    reply = await control.delete(f"{path}/increases/{made['id']}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_yet_in_force")
    assert (await control.delete(f"{path}/increases/{made['id']}")).status_code == 503
    control.epochs.away = False
    assert (await control.delete(f"{path}/increases/{made['id']}")).status_code == 404
    assert (await limits_of(control))["rpm"] == 60
