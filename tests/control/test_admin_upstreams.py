"""Upstreams through the admin API."""

from typing import Any

import pytest

from gateway.domain.upstreams import Upstream
from tests.control.admin_api import Control


async def make(control: Control, **fields: object) -> dict[str, Any]:
    reply = await control.post("/upstreams", {"base_url": "http://one.test/v1/", "models": ["a", "b=own-b"]} | fields)
    assert reply.status_code == 201, reply.text
    row: dict[str, Any] = reply.json()
    return row


async def test_upstream_is_made_and_in_use(control: Control) -> None:
    """A new upstream is in use when the 201 is sent: its models are in the catalogue; its credential is never shown."""
    row = await make(control, api_key="upstream-secret", weight=7)
    assert row["models"] == {"a": "a", "b": "own-b"}
    assert (row["name"], row["base_url"], row["has_api_key"], row["weight"]) == ("one.test", "http://one.test/v1", True, 7)
    assert (row["state"], row["source"], row["serves"], row["lists_models"]) == ("healthy", "database", ["a", "b"], False)
    assert control.catalogue.model("b") is not None
    assert control.upstreams.stored[0].api_key == "upstream-secret"
    pages = [await control.get("/upstreams"), await control.get(f"/upstreams/{row['id']}"), await control.get("/audit")]
    assert "secret" not in "".join(page.text for page in pages)


@pytest.mark.parametrize(
    "text",
    ["", "h/v1", "ftp://h", "http://h:99999", "http://u:p@h", "http://h/v1?", "http://h\r\nx: y", "http://h/v1/chat/completions"],
)
async def test_bad_base_urls_are_400(control: Control, text: str) -> None:
    """What the settings refuse as a base URL the API refuses too, with the field named and nothing of it repeated."""
    reply = await control.post("/upstreams", {"base_url": text, "models": ["a"]})
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["param"] == "base_url"
    assert not text or text not in reply.json()["detail"]
    assert control.upstreams.stored == []


async def test_bad_models_say_what_to_send(control: Control) -> None:
    """Names that cannot be read are refused with the field, the reason and the forms that are taken."""
    reply = await control.post("/upstreams", {"base_url": "http://h", "models": ["a b"]})
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["param"] == "models"
    assert "entry 1" in reply.json()["detail"]
    assert "a=name-over-there" in reply.json()["detail"]


async def test_ways_to_write_models_and_none(control: Control) -> None:
    """A text with commas is a list, as in the settings; left out, an upstream serves what it lists, as there too."""
    row = (await control.post("/upstreams", {"base_url": "http://one.test/v1", "models": "a, b=own"})).json()
    assert (row["models"], row["lists_models"]) == ({"a": "a", "b": "own"}, False)
    row = (await control.post("/upstreams", {"base_url": "http://two.test/v1"})).json()
    assert (row["models"], row["lists_models"]) == ({}, True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weight", 0),
        ("weight", 1001),
        ("weight", 1.5),
        ("enabled", 1),
        ("api_key", ""),
        ("api_key", "a\r\nb"),
        ("models", 5),
        ("x", 1),
    ],
)
async def test_bad_upstream_fields_are_400(control: Control, field: str, value: object) -> None:
    """Each field is checked on the way in, whether an upstream is made or changed, and what was sent is not echoed."""
    reply = await control.post("/upstreams", {"base_url": "http://h", "models": ["a"], field: value})
    assert (reply.status_code, reply.json()["errors"][0]["param"]) == (400, field)
    row = await make(control)
    reply = await control.patch(f"/upstreams/{row['id']}", {field: value})
    assert (reply.status_code, reply.json()["errors"][0]["param"]) == (400, field)


async def test_upstream_is_changed(control: Control) -> None:
    """PATCH changes only what is sent; null removes the credential alone; the change is in use when the answer is sent."""
    row = await make(control, api_key="first-secret")
    path = f"/upstreams/{row['id']}"
    changed = (await control.patch(path, {"enabled": False, "name": "two"})).json()
    assert (changed["enabled"], changed["state"], changed["name"], changed["models"]) == (False, "disabled", "two", row["models"])
    changed = (await control.patch(path, {"models": "*", "base_url": "https://x.test/", "api_key": "second-secret"})).json()
    assert (changed["models"], changed["lists_models"], changed["base_url"]) == ({}, True, "https://x.test")
    assert control.upstreams.stored[0].api_key == "second-secret"
    assert (await control.patch(path, {"api_key": None})).json()["has_api_key"] is False
    for field in ("name", "base_url", "models", "weight", "enabled"):
        assert (await control.patch(path, {field: None})).status_code == 400
    rows = (await control.get("/audit", params={"target": row["id"]})).json()["data"]
    assert [entry["action"] for entry in rows] == ["upstream.update"] * 3 + ["upstream.create"]
    assert rows[0]["after"]["api_key"] == "changed"
    assert "-secret" not in str(rows)


@pytest.mark.parametrize(
    ("base_url", "same"),
    [
        ("http://one.test/other", True),
        ("http://one.test:80/v1", True),
        ("HTTP://ONE.test/v1", True),
        ("https://one.test/v1", False),
        ("http://one.test:8080/v1", False),
        ("http://evil.test/v1", False),
        ("http://one.test.evil.test/v1", False),
    ],
)
async def test_a_credential_goes_to_no_other_server(control: Control, base_url: str, *, same: bool) -> None:
    """Another scheme, host or port takes the credential anew, or its removal; else whoever changes the address could read it."""
    path = f"/upstreams/{(await make(control, api_key='first-secret'))['id']}"
    reply = await control.patch(path, {"base_url": base_url})
    assert reply.status_code == (200 if same else 400), reply.text
    if not same:
        assert reply.json()["errors"][0]["param"] == "api_key"
        assert control.upstreams.stored[0].base_url == "http://one.test/v1"
        assert (await control.patch(path, {"base_url": base_url, "api_key": "second-secret"})).json()["base_url"] == base_url
        assert (await control.patch(path, {"base_url": "http://three.test", "api_key": None})).json()["has_api_key"] is False
        assert (await control.patch(path, {"base_url": "http://four.test"})).status_code == 200


async def test_upstreams_are_found_and_come_by_name(control: Control) -> None:
    """Those of settings come first, then by name whatever its case; a part of the name or of the base URL finds one."""
    for name, host in (("b", "x"), ("A", "y"), ("c", "needle")):
        await make(control, name=name, base_url=f"http://{host}.test/v1")
    assert [row["name"] for row in (await control.get("/upstreams")).json()["data"]] == ["fixed", "A", "b", "c"]
    assert [row["name"] for row in (await control.get("/upstreams", params={"q": "NEEDLE"})).json()["data"]] == ["c"]
    assert [row["name"] for row in (await control.get("/upstreams", params={"q": "a"})).json()["data"]] == ["A"]


async def test_upstream_is_deleted(control: Control) -> None:
    """After the 204 the upstream is out of use."""
    row = await make(control)
    assert (await control.delete(f"/upstreams/{row['id']}")).status_code == 204
    assert (await control.get(f"/upstreams/{row['id']}")).status_code == 404
    assert (await control.delete(f"/upstreams/{row['id']}")).status_code == 404
    assert control.catalogue.model("a") is None


async def test_upstreams_of_settings_are_read_only(control: Control) -> None:
    """Upstreams of settings and the demo are listed; changing one is a 409 that says where it is set."""
    control.upstreams.fixed.append(Upstream("demo", "demo", "http://127.0.0.1:1/v1", source="demo"))
    listed = (await control.get("/upstreams")).json()["data"]
    assert [(row["id"], row["source"], row["has_api_key"]) for row in listed] == [
        ("demo", "demo", False),
        ("config", "config", True),
    ]
    assert "fixed-secret" not in str(listed)
    for name, where in (("config", "gateway.toml"), ("demo", "demo")):
        for reply in (await control.patch(f"/upstreams/{name}", {"weight": 2}), await control.delete(f"/upstreams/{name}")):
            assert reply.status_code == 409
            assert where in reply.json()["detail"]


async def test_deployments_are_not_under_the_epoch(control: Control) -> None:
    """Changing an upstream raises no account's epoch."""
    control.epochs.raised.clear()
    row = await make(control)
    await control.patch(f"/upstreams/{row['id']}", {"weight": 2})
    await control.delete(f"/upstreams/{row['id']}")
    assert control.epochs.raised == []
