"""Grants, account limits and models through the admin API."""

import pytest

from tests.control.admin_api import Control

NAMES = ["served-model", "vendor/model", "a/b/c", "name with space", "modèle", "100%", "a?b#c", "..", "grants/x"]


def quoted(name: str) -> str:
    """A model's name in a path: percent-encoded but for its slashes."""
    from urllib.parse import quote

    return quote(name, safe="/")


async def put_model(control: Control, name: str, **fields: object) -> None:
    reply = await control.put(f"/models/{quoted(name)}", fields)
    assert reply.status_code in {200, 201}, reply.text


@pytest.mark.parametrize("name", ["vendor/model", "a/b/c", "name with space", "modèle", "100%", "a?b#c", "grants/x"])
@pytest.mark.parametrize("slash", ["/", "%2F"])
async def test_names_with_slashes(control: Control, name: str, slash: str) -> None:
    """A model of any name can be stored, granted, limited, listed and removed, its slashes plain or percent-encoded."""
    path = quoted(name).replace("/", slash)
    workspace = await control.sub_workspace()
    made = await control.put(f"/models/{path}", {"rpm": 60})
    assert (made.status_code, made.json()["name"]) == (201, name)
    assert (await control.get(f"/models/{path}")).json()["rpm"] == 60
    assert (await control.put(f"/workspaces/{workspace}/grants/{path}", {"rpm": 30})).json()["model"] == name
    assert (await control.put(f"/accounts/{control.account_id}/limits/{path}", {"rpm": 40})).json()["model"] == name
    assert (await control.delete(f"/accounts/{control.account_id}/limits/{path}")).status_code == 204
    assert (await control.delete(f"/workspaces/{workspace}/grants/{path}")).status_code == 204
    assert (await control.delete(f"/models/{path}")).status_code == 204
    assert (await control.get(f"/models/{path}")).status_code == 404


async def test_grant_is_given_changed_and_taken(control: Control) -> None:
    """PUT answers 201 for a new grant and 200 for a changed one; DELETE 204, then 404; each raises the epoch first."""
    workspace = await control.sub_workspace()
    path = f"/workspaces/{workspace}/grants"
    control.epochs.raised.clear()
    reply = await control.put(f"{path}/served-model", {"rpm": 10, "tpm": 1000})
    assert (reply.status_code, reply.json()["rpm"], reply.json()["tpm"], reply.json()["warnings"]) == (201, 10, 1000, [])
    assert len(control.epochs.raised) == 1
    reply = await control.put(f"{path}/served-model", {"rpm": None, "tpm": None})
    assert (reply.status_code, reply.json()["rpm"]) == (200, None)
    assert [row["model"] for row in (await control.get(path)).json()["data"]] == ["served-model"]
    assert (await control.delete(f"{path}/served-model")).status_code == 204
    assert (await control.delete(f"{path}/served-model")).status_code == 404
    assert (await control.get(path)).json()["data"] == []
    assert len(control.epochs.raised) == 3
    assert await control.actions() == ["grant.delete", "grant.set", "grant.set", "workspace.create"]


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ({"rpm": 101}, ["rpm"]),
        ({"rpm": 100, "tpm": 10_001}, ["tpm"]),
        ({"rpm": 101, "tpm": 10_001}, ["rpm", "tpm"]),
        ({"tpm": 5}, ["tpm"]),
        ({"rpm": 0}, ["rpm"]),
        ({"rpm": -1}, ["rpm"]),
        ({"rpm": 10**30}, ["rpm"]),
        ({"rpm": "10"}, ["rpm"]),
        ({"rpm": True}, ["rpm"]),
        ({"rpm": 1.5}, ["rpm"]),
        ({"rpm": 1, "burst": 2}, ["burst"]),
    ],
)
async def test_grants_are_held_to_the_account(control: Control, body: dict[str, object], params: list[str]) -> None:
    """A grant above the account's limit, TPM without RPM, or no whole number is refused with the field named."""
    await put_model(control, "served-model", rpm=100, tpm=10_000)
    workspace = await control.sub_workspace()
    reply = await control.put(f"/workspaces/{workspace}/grants/served-model", body)
    assert reply.status_code == 400
    assert {error["param"] for error in reply.json()["errors"]} == set(params)
    assert (await control.get(f"/workspaces/{workspace}/grants")).json()["data"] == []


async def test_the_accounts_own_limits_come_first(control: Control) -> None:
    """A grant is held to the account's own limit where it has one, above or below the model's."""
    await put_model(control, "served-model", rpm=100)
    workspace = await control.sub_workspace()
    path = f"/workspaces/{workspace}/grants/served-model"
    assert (await control.put(path, {"rpm": 150})).status_code == 400
    assert (await control.put(f"/accounts/{control.account_id}/limits/served-model", {"rpm": 200})).status_code == 200
    assert (await control.put(path, {"rpm": 150})).status_code == 201
    await control.put(f"/accounts/{control.account_id}/limits/served-model", {"rpm": 50})
    assert (await control.put(path, {"rpm": 150})).status_code == 400


async def test_sum_over_workspaces_is_a_warning(control: Control) -> None:
    """Grants that exceed the account's limit only together are given, with a warning for each limit."""
    await put_model(control, "served-model", rpm=100, tpm=1000)
    first, second = await control.sub_workspace("a"), await control.sub_workspace("b")
    body = {"rpm": 60, "tpm": 600}
    assert (await control.put(f"/workspaces/{first}/grants/served-model", body)).json()["warnings"] == []
    warnings = (await control.put(f"/workspaces/{second}/grants/served-model", body)).json()["warnings"]
    assert len(warnings) == 2
    assert "120 rpm" in warnings[0]
    assert "1,200 tpm" in warnings[1]


async def test_default_workspace_takes_no_grants(control: Control) -> None:
    """The default workspace can be neither limited nor narrowed: 409."""
    path = f"/workspaces/{control.workspace_id}/grants"
    assert (await control.put(f"{path}/served-model", {"rpm": 1})).status_code == 409
    assert (await control.delete(f"{path}/served-model")).status_code == 409
    assert (await control.get(path)).json()["data"] == []


async def test_unknown_models_are_asked_for_once_more(control: Control) -> None:
    """A model that is not known yet is looked for at the upstreams before the grant is refused with 404."""
    workspace = await control.sub_workspace()
    assert (await control.put(f"/workspaces/{workspace}/grants/new", {})).status_code == 404
    assert control.catalogue.asked == ["new"]
    control.catalogue.hidden.add("new")
    assert (await control.put(f"/workspaces/{workspace}/grants/new", {})).status_code == 201
    assert (await control.put("/workspaces/llm-none/grants/new", {})).status_code == 404


async def test_limits_name_their_source(control: Control) -> None:
    """Each model of the catalogue is listed with what holds for the account, field by field, and the level that says so."""
    await put_model(control, "vendor/model", rpm=100, tpm=1000)
    path = f"/accounts/{control.account_id}/limits"

    async def listed() -> dict[str, tuple[object, ...]]:
        rows = (await control.get(path)).json()["data"]
        return {row["model"]: (row["rpm"], row["tpm"], row["source"]) for row in rows}

    assert await listed() == {"served-model": (None, None, None), "vendor/model": (100, 1000, "model")}
    reply = await control.put(f"{path}/vendor/model", {"rpm": None, "tpm": 500})
    assert (reply.json()["rpm"], reply.json()["tpm"], reply.json()["source"]) == (100, 500, "account")
    assert (await listed())["vendor/model"] == (100, 500, "account")
    assert (await control.delete(f"{path}/vendor/model")).status_code == 204
    assert (await control.delete(f"{path}/vendor/model")).status_code == 404
    assert (await listed())["vendor/model"] == (100, 1000, "model")
    assert (await control.actions())[:2] == ["limits.delete", "limits.set"]


async def test_account_limits_are_checked(control: Control) -> None:
    """TPM needs an RPM of some level; unknown models and accounts are 404; grants above a lowered limit are warned of."""
    path = f"/accounts/{control.account_id}/limits/served-model"
    assert (await control.put(path, {"tpm": 5})).status_code == 400
    assert (await control.put(path, {"rpm": 0})).status_code == 400
    assert (await control.put(f"/accounts/{control.account_id}/limits/none", {"rpm": 1})).status_code == 404
    assert (await control.put("/accounts/acc-none/limits/served-model", {"rpm": 1})).status_code == 404
    assert (await control.delete("/accounts/acc-none/limits/served-model")).status_code == 404
    assert (await control.get("/accounts/acc-none/limits")).status_code == 404
    workspace = await control.sub_workspace()
    await control.put(f"/workspaces/{workspace}/grants/served-model", {"rpm": 50})
    assert len((await control.put(path, {"rpm": 20})).json()["warnings"]) == 1


async def test_models_are_stored_and_replaced(control: Control) -> None:
    """PUT replaces all that is stored of a model, and raises every account's epoch before it answers."""
    other = (await control.post("/accounts", {"name": "other"})).json()["id"]
    control.epochs.raised.clear()
    body = {"rpm": 10, "tpm": 20, "type": "chat", "vendor": "Acme"}
    made = await control.put("/models/m", body)
    assert made.status_code == 201
    assert {key: made.json()[key] for key in body} == body
    assert {account for account, _ in control.epochs.raised} == {control.account_id, other}
    changed = (await control.put("/models/m", {"rpm": 5})).json()
    assert (changed["rpm"], changed["tpm"], changed["type"], changed["vendor"]) == (5, None, None, None)
    assert changed["created_at"] == made.json()["created_at"] < changed["updated_at"]
    assert control.catalogue.model("m") is not None


@pytest.mark.parametrize("body", [{"tpm": 1}, {"rpm": 0}, {"type": "image"}, {"vendor": "x" * 121}, {"price": 1}, None])
async def test_bad_model_bodies_are_400(control: Control, body: object) -> None:
    """Limits that break the rules, unknown types and unknown fields are refused, and nothing is stored."""
    assert (await control.put("/models/m", body)).status_code == 400
    assert (await control.get("/models/m")).status_code == 404


async def test_models_of_upstreams_are_listed_too(control: Control) -> None:
    """A model that only an upstream serves is listed as such; once something is stored of it, it is the database's."""
    row = (await control.get("/models/served-model")).json()
    assert (row["source"], row["owned_by"], row["created_at"]) == ("upstream", "fixed", None)
    assert (await control.delete("/models/served-model")).status_code == 404
    await put_model(control, "served-model", rpm=1)
    assert [(row["name"], row["source"]) for row in (await control.get("/models")).json()["data"]] == [
        ("served-model", "database")
    ]


async def test_deleting_a_model_takes_its_grants(control: Control) -> None:
    """With a model go all workspaces' grants of it, in one transaction; those of other models stay."""
    await put_model(control, "m")
    workspace = await control.sub_workspace()
    for name in ("m", "served-model"):
        assert (await control.put(f"/workspaces/{workspace}/grants/{name}", {})).status_code == 201
    assert (await control.delete("/models/m")).status_code == 204
    assert [row["model"] for row in (await control.get(f"/workspaces/{workspace}/grants")).json()["data"]] == ["served-model"]
    row = (await control.get("/audit", params={"action": "model.delete"})).json()["data"][0]
    assert row["before"]["grants"] == 1
    assert (await control.delete("/models/m")).status_code == 404
