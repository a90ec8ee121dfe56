"""How the admin API says no."""

import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.control.app import create_control
from gateway.storage.sql.engine import create_engine
from gateway.storage.sql.policy import Policy
from tests.control.admin_api import TOKEN, Control

JSON = {"content-type": "application/json"}


def check_shape(reply: httpx2.Response, status: int) -> dict[str, Any]:
    """The problem document of a reply, once all that every refusal has in common was seen in it."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = reply.json()
    assert body["type"] == "about:blank"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == reply.headers["x-request-id"]
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["message"] == body["detail"]
    assert body["error"]["code"]
    return body


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"{broken", JSON),
        (b"", JSON),
        (b"[]", JSON),
        (b"null", JSON),
        (b'"x"', JSON),
        (b'{"name": "\xff"}', JSON),
        (b'{"name": "\\ud800"}', JSON),
        (b'{"name": "a"}', {}),
        (b'{"name": "a"}', {"content-type": "text/plain"}),
        (b"name=a", {"content-type": "application/x-www-form-urlencoded"}),
        (b"[" * 100_000, JSON),
    ],
)
async def test_bad_bodies_are_400(control: Control, content: bytes, headers: dict[str, str]) -> None:
    """What is no JSON object of the right fields is a 400 that names a field or the body."""
    body = check_shape(await control.http.post("/admin/v1/accounts", content=content, headers=headers), 400)
    assert body["errors"]
    assert body["error"]["param"] in {"body", "name"}


async def test_what_was_sent_is_not_echoed(control: Control, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a refusal nor the log repeats what was sent: it may be a secret in the wrong field."""
    caplog.set_level(logging.DEBUG)
    body = {"base_url": "hunter2 secret", "models": {"hunter2": ["hunter2"]}, "api_key": "hunter2 hunter2", "weight": "hunter2"}
    reply = await control.post("/upstreams", body)
    problem = check_shape(reply, 400)
    assert {error["param"] for error in problem["errors"]} == {"models", "api_key", "weight"}
    assert "hunter2" not in reply.text + caplog.text


async def test_unknown_paths_are_404(control: Control) -> None:
    """An unknown path is a 404, with a slash at the end too."""
    check_shape(await control.get("/nothing"), 404)
    check_shape(await control.get("/accounts/"), 404)
    check_shape(await control.http.get("/"), 404)


async def test_wrong_methods_are_405(control: Control) -> None:
    """A known path with another method is a 405 that names every method the path takes."""
    reply = await control.delete("/accounts")
    body = check_shape(reply, 405)
    assert reply.headers["allow"] == "GET, POST"
    assert "GET or POST" in body["detail"]
    reply = await control.post("/models/vendor/model")
    check_shape(reply, 405)
    assert reply.headers["allow"] == "DELETE, GET, PUT"


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(20):
        yield b" " * 100_000


async def test_large_bodies_are_413(control: Control) -> None:
    """A body over 1 MiB is refused, whether its length is announced or not; one just below is read."""
    check_shape(await control.http.post("/admin/v1/accounts", content=b" " * (2**20 + 1), headers=JSON), 413)
    check_shape(await control.http.post("/admin/v1/accounts", content=chunks(), headers=JSON), 413)
    fine = b'{"name": "a"}'
    reply = await control.http.post("/admin/v1/accounts", content=fine + b" " * (2**20 - len(fine)), headers=JSON)
    assert reply.status_code == 201


async def test_request_ids_are_our_own(control: Control) -> None:
    """Every reply carries a fresh UUIDv7, whatever the client sent."""
    seen = set()
    for path in ("/accounts", "/nothing", "/openapi.json"):
        reply = await control.get(path, headers={"x-request-id": "mine"})
        seen.add(reply.headers["x-request-id"])
        assert uuid.UUID(reply.headers["x-request-id"]).version == 7
    assert len(seen) == 3


async def test_database_away_is_503(control: Control, tmp_path: Path) -> None:
    """While the database cannot be reached, reading and changing answer 503 with a hint when to come back."""
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path}/no-folder/gateway.db")
    services = replace(control.services, engine=engine, policy=Policy(engine, control.epochs))
    transport = httpx2.ASGITransport(app=create_control(services))
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test", headers=headers) as http:
        for reply in (
            await http.get("/admin/v1/accounts"),
            await http.post("/admin/v1/accounts", json={"name": "a"}),
            await http.delete("/admin/v1/accounts/acc-x/limits/m"),
            await http.put("/admin/v1/models/m", json={}),
        ):
            check_shape(reply, 503)
            assert reply.headers["retry-after"] == "1"
            assert "no-folder" not in reply.text
    await engine.dispose()


async def test_saved_but_not_in_force_is_503(control: Control) -> None:
    """A change that is saved, but whose epoch cannot be raised, is answered 503 and says so; repeating it is safe."""
    workspace = await control.sub_workspace()
    control.epochs.away = True
    path = f"/workspaces/{workspace}/grants/served-model"
    body = check_shape(await control.put(path, {"rpm": 5}), 503)
    assert body["error"]["code"] == "not_yet_in_force"
    assert "repeating is safe" in body["detail"]
    control.epochs.away = False
    assert (await control.put(path, {"rpm": 5})).status_code == 200
    assert [row["rpm"] for row in (await control.get(f"/workspaces/{workspace}/grants")).json()["data"]] == [5]


async def test_what_is_gone_is_told_once_that_is_in_force(control: Control) -> None:
    """A deletion that was saved and not put in force is answered 503 as often as it is repeated, and 404 only when it holds."""
    workspace = await control.sub_workspace()
    key = (await control.post(f"/workspaces/{workspace}/api-keys", {"description": "k"})).json()["id"]
    grant = f"/workspaces/{workspace}/grants/served-model"
    assert (await control.put(grant, {"rpm": 5})).is_success
    control.epochs.away = True
    for path in (f"/api-keys/{key}", grant):
        for _ in range(2):
            assert check_shape(await control.delete(path), 503)["error"]["code"] == "not_yet_in_force"
    control.epochs.away = False
    for path in (f"/api-keys/{key}", grant):
        check_shape(await control.delete(path), 404)


async def test_faults_show_no_internals(
    control: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours is a 500 without its text, which stands in the log under the same request ID."""

    def broken() -> None:
        raise RuntimeError("internal-detail")

    monkeypatch.setattr(control.catalogue, "models", broken)
    reply = await control.get("/models")
    body = check_shape(reply, 500)
    assert "internal-detail" not in reply.text
    assert "internal-detail" in caplog.text
    assert body["request_id"] in caplog.text


@pytest.mark.parametrize(
    "path",
    ["/accounts?limit=0", "/accounts?limit=1001", "/accounts?limit=x", "/workspaces?q=%00", "/accounts/%00", "/models/%00"],
)
async def test_bad_parameters_are_400(control: Control, path: str) -> None:
    """Parameters out of their bounds, and characters that no database takes, are a 400 that names the parameter."""
    body = check_shape(await control.get(path), 400)
    assert body["errors"][0]["param"] in {"limit", "q", "account_id", "model"}


@pytest.mark.parametrize("path", ["/workspaces?name=research", "/usage?by=key", "/audit?limit=1&targt=x", "/accounts/a?x=1"])
async def test_misspelt_parameters_are_400(control: Control, path: str) -> None:
    """A query parameter that is none is refused: ignored, a misspelt filter would answer with more than was asked for."""
    body = check_shape(await control.get(path), 400)
    assert body["error"]["param"] in {"name", "by", "targt", "x"}
    assert "There is no such" in body["detail"]


async def test_parameters_are_told_to_the_operator_alone(control: Control) -> None:
    """The token is asked for first."""
    check_shape(await control.http.get("/admin/v1/usage?by=key", headers={"authorization": ""}), 401)


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/"])
async def test_a_wrong_base_url_is_told_the_right_one(control: Control, path: str) -> None:
    """Whoever set an OpenAI client's base URL without the prefix reads where calls go."""
    body = check_shape(await control.http.get(path), 404)
    assert "/compatible-mode/v1" in body["error"]["message"]


async def test_a_missing_body_says_what_to_send(control: Control) -> None:
    """A POST without a body is told of a JSON object, not of a field called body."""
    body = check_shape(await control.http.post(f"/admin/v1/workspaces/{control.workspace_id}/api-keys"), 400)
    assert "JSON object" in body["detail"]


async def test_a_method_that_only_explains_itself_is_not_offered(control: Control) -> None:
    """A workspace cannot be deleted, so no refusal says that it takes DELETE."""
    for method in ("PUT", "DELETE"):
        reply = await control.http.request(method, f"/admin/v1/workspaces/{control.workspace_id}")
        check_shape(reply, 405)
        assert reply.headers["allow"] == "GET, PATCH"
