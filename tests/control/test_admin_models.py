"""The catalogue through the admin API: who serves a model, whom it is granted to, and finding it."""

from typing import Any

import pytest

from gateway.domain.upstreams import Upstream
from tests.control.admin_api import Control, State
from tests.control.people_world import add_person, browser, owner


async def model(control: Control, name: str) -> dict[str, Any]:
    row: dict[str, Any] = (await control.get(f"/models/{name}")).json()
    return row


async def names(control: Control, **params: str) -> list[str]:
    reply = await control.get("/models", params=params)
    assert reply.status_code == 200, reply.text
    return [row["name"] for row in reply.json()["data"]]


async def test_a_model_says_who_serves_it(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enabled upstreams count, and those of them that are not ejected count as healthy; a model may be served by nobody."""
    upstreams = [Upstream(f"u{n}", f"u{n}", "http://h", models={"m": "m"}, enabled=n != 2, source="config") for n in range(3)]
    states = [
        State(upstreams[0], "healthy", ["m"]),
        State(upstreams[1], "ejected", ["m"]),
        State(upstreams[2], "disabled", ["m"]),
    ]
    monkeypatch.setattr(control.upstreams, "states", lambda: states)
    await control.put("/models/m", {})
    await control.put("/models/nobody", {})
    served = await model(control, "m")
    assert (served["served_by"], served["healthy"]) == (2, 1)
    unserved = await model(control, "nobody")
    assert (unserved["served_by"], unserved["healthy"]) == (0, 0)
    assert [row["served_by"] for row in (await control.get("/models")).json()["data"]] == [2, 0]


async def test_a_model_says_how_often_it_is_granted(control: Control) -> None:
    """Grants of all workspaces count, so that one knows what forgetting a model takes along."""
    for n in range(3):
        await control.put(f"/workspaces/{await control.sub_workspace(f'w{n}')}/grants/served-model", {})
    assert (await model(control, "served-model"))["grants"] == 3
    await control.put("/models/vendor/other", {})
    assert {row["name"]: row["grants"] for row in (await control.get("/models")).json()["data"]} == {
        "served-model": 3,
        "vendor/other": 0,
    }


async def test_tenants_learn_nothing_of_each_others_grants(control: Control) -> None:
    """Only who manages the catalogue reads how often a model is granted; an owner sees the model all the same."""
    await control.put(f"/workspaces/{await control.sub_workspace()}/grants/served-model", {})
    person = await add_person(control, owner(control.account_id))
    async with browser(control, person) as http:
        rows = [(await http.get("/admin/v1/models/served-model")).json(), *(await http.get("/admin/v1/models")).json()["data"]]
    assert [(row["name"], row["grants"], row["served_by"]) for row in rows] == [("served-model", None, 1)] * 2


async def test_models_are_found(control: Control) -> None:
    """By a part of the name or of the vendor whatever the case, by the whole vendor, and by type; the filters add up."""
    await control.put("/models/acme/Large", {"type": "chat", "vendor": "Acme"})
    await control.put("/models/acme/embed", {"type": "embedding", "vendor": "Acme"})
    await control.put("/models/other", {"type": "chat", "vendor": "acme & sons"})
    assert await names(control, q="LARGE") == ["acme/Large"]
    assert await names(control, q="acme") == ["acme/Large", "acme/embed", "other"]
    assert await names(control, vendor="Acme") == ["acme/Large", "acme/embed"]
    assert await names(control, vendor="Acme", type="embedding") == ["acme/embed"]
    assert await names(control, type="none") == ["served-model"]
    assert await names(control, q="%") == []
    assert (await control.get("/models", params={"type": "image"})).status_code == 400


async def test_filters_hold_over_pages(control: Control) -> None:
    """The pages of a filtered list hold what the filter lets through, each once."""
    for n in range(7):
        await control.put(f"/models/m{n}", {"vendor": "Even" if n % 2 == 0 else "Odd"})
    first = (await control.get("/models", params={"vendor": "Even", "limit": 3})).json()
    rest = (await control.get("/models", params={"vendor": "Even", "limit": 3, "cursor": first["next_cursor"]})).json()
    assert [row["name"] for row in first["data"] + rest["data"]] == ["m0", "m2", "m4", "m6"]
    assert rest["next_cursor"] is None
