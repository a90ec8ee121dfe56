"""Test calls of upstreams through the admin API."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from gateway.control.app import create_control
from gateway.domain.trials import Cause, Outcome
from gateway.domain.upstreams import Upstream
from gateway.upstream.directory import Directory
from gateway.upstream.trial import Managed, Trials
from tests.control.admin_api import TOKEN, Control
from tests.upstream.raw_upstream import Call, raw_upstream, unused_port

SECRET = 'sk-up/"stream+secret'
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CHAT = {"choices": [{"message": {"role": "assistant", "content": "Hello there"}}], "usage": USAGE}


async def made(control: Control, **fields: object) -> str:
    body = {"base_url": "http://one.test/v1", "models": ["a", "b=own-b"], "api_key": SECRET} | fields
    reply = await control.post("/upstreams", body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def came(body: object, status: int = 200, **more: Any) -> Outcome:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Outcome(milliseconds=12, status=status, body=raw, **more)


async def called(control: Control, outcome: Outcome, body: object = None, **fields: object) -> dict[str, Any]:
    """The answer of a test call of a new upstream of which `outcome` comes."""
    control.upstreams.outcome = outcome
    reply = await control.post(f"/upstreams/{await made(control, **fields)}/test", body or {})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


# What is asked


async def test_a_call_of_the_first_model(control: Control) -> None:
    """Without a word the first model is asked, by the upstream's own name and for few tokens; its text and tokens come back."""
    found = await called(control, came(CHAT), models=["b=own-b"])
    upstream, trial = control.upstreams.tried[0]
    assert (trial.path, upstream.api_key, upstream.base_url) == ("/chat/completions", SECRET, "http://one.test/v1")
    assert json.loads(trial.body or b"") == {
        "model": "own-b",
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 16,
    }
    assert found == {
        "ok": True,
        "status": 200,
        "milliseconds": 12,
        "model": "b",
        "upstream_model": "own-b",
        "reply": "Hello there",
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        "error": None,
        "hint": None,
    }


@pytest.mark.parametrize(
    ("kind", "path", "body", "reply", "text"),
    [
        ("chat", "/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16}, CHAT, "Hello there"),
        ("completion", "/completions", {"prompt": "Hi", "max_tokens": 16}, {"choices": [{"text": "Ho"}]}, "Ho"),
        (
            "embedding",
            "/embeddings",
            {"input": "Hi"},
            {"data": [{"embedding": [0.5, -1, 2e-9]}]},
            "A vector of 3 numbers: 0.5, -1, 2e-09, …",
        ),
    ],
)
async def test_each_type_of_model_is_asked_its_way(
    control: Control, *, kind: str, path: str, body: dict[str, Any], reply: dict[str, Any], text: str
) -> None:
    """The model's type in the catalogue decides on the endpoint and on what counts as a reply."""
    await control.put("/models/a", {"type": kind})
    found = await called(control, came(reply), {"model": "a", "prompt": "Hi"})
    trial = control.upstreams.tried[0][1]
    assert (trial.path, json.loads(trial.body or b"")) == (path, {"model": "a"} | body)
    assert (found["ok"], found["reply"], found["model"]) == (True, text, "a")


async def test_an_upstream_of_no_known_model_is_asked_for_its_list(control: Control) -> None:
    """Where no model is known yet, the list is asked for, so that a new upstream can be tried; a name may be given."""
    rows = [{"id": f"m{n}"} for n in range(8)]
    found = await called(control, came({"data": rows}), models="*")
    trial = control.upstreams.tried[0][1]
    assert (trial.path, trial.body, found["model"]) == ("/models", None, None)
    assert (found["ok"], found["reply"]) == (True, "It lists 8 models: m0, m1, m2, m3, m4 and 3 more.")
    found = await called(control, came(CHAT), {"model": "not listed"}, models="*")
    assert (found["ok"], found["model"], found["upstream_model"]) == (True, "not listed", "not listed")


async def test_disabled_upstreams_and_those_of_settings_are_called_too(control: Control) -> None:
    """A test call is how one sees whether an upstream may be enabled; one of settings cannot be changed, and can be called."""
    assert (await called(control, came(CHAT), enabled=False))["ok"]
    reply = await control.post("/upstreams/config/test", {})
    assert (reply.json()["upstream_model"], control.upstreams.tried[-1][0].api_key) == ("m", "fixed-secret")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "c"}, "model"),
        ({"model": ""}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 2001}, "prompt"),
        ({"url": "http://x"}, "url"),
    ],
)
async def test_what_cannot_be_asked_is_400(control: Control, body: dict[str, str], param: str) -> None:
    """A model that the upstream does not serve, and fields out of their bounds, are refused before anything is sent."""
    reply = await control.post(f"/upstreams/{await made(control)}/test", body)
    assert (reply.status_code, reply.json()["errors"][0]["param"]) == (400, param)
    assert control.upstreams.tried == []
    assert (await control.post("/upstreams/up-none/test", {})).status_code == 404


async def test_a_test_call_is_audited_once(control: Control) -> None:
    """Each call leaves one row that says who tried what with which end, and neither prompt nor reply nor credential."""
    upstream_id = await made(control)
    control.upstreams.outcome = came(CHAT)
    await control.post(f"/upstreams/{upstream_id}/test", {"prompt": "the-prompt", "model": "b"})
    rows = (await control.get("/audit", params={"action": "upstream.test"})).json()["data"]
    assert [(row["target"], row["before"], row["after"]) for row in rows] == [
        (upstream_id, None, {"model": "b", "ok": True, "status": 200, "milliseconds": 12})
    ]
    assert (await control.get("/usage")).json()["total"]["calls"] == 0


# What comes back


def refusal(message: object) -> bytes:
    return json.dumps({"error": {"message": message}}).encode()


@pytest.mark.parametrize(
    ("outcome", "error", "hint"),
    [
        (Outcome(3, cause=Cause.REFUSED, words="[Errno 111] no"), "The connection was refused: [Errno 111] no.", "listens"),
        (Outcome(3, cause=Cause.NAME, words="x"), "The host's name does not resolve", "DNS"),
        (Outcome(3, cause=Cause.TLS, words="x"), "No TLS connection came about", "certificate"),
        (Outcome(3, cause=Cause.TIME, words="no whole answer within 10 s"), "no whole answer within 10 s", "busy"),
        (Outcome(3, cause=Cause.UNSENDABLE), "The request cannot be sent.", "characters"),
        (Outcome(3, cause=Cause.OTHER, words="x"), "No whole answer came", "log"),
        (came(refusal("Bad key"), 401), "The server answered 401 Unauthorized: Bad key.", "does not take the credential"),
        (came(refusal("No"), 403), "403 Forbidden: No.", "does not take the credential"),
        (came(b"<h1>Not here</h1>", 404), "The server answered 404 Not Found.", "most end in /v1"),
        (came({"detail": "what?"}, 422), "422 Unprocessable", "type"),
        (came({"message": "Slow down!"}, 429), "429 Too Many Requests: Slow down!", "limits"),
        (came(b"", 302, location="http://elsewhere.test/v1"), "302 Found, and leads to http://elsewhere.test/v1.", "Redirects"),
        (came(b"", 502), "502 Bad Gateway.", "proxy"),
        (came(b"", 599), "The server answered 599.", "proxy"),
        (came(b"", 204), "204 No Content", "/v1"),
        (came(b"<html>"), "The answer is not JSON.", "/v1"),
        (came([CHAT]), "not of the form", "/v1"),
        (came({"choices": []}), "not of the form", "/v1"),
        (came({"choices": [{"message": "text"}]}), "not of the form", "/v1"),
        (came(b"x" * 65536, whole=False), "larger than a test call reads", "/v1"),
        (came(b"[" * 60000), "The answer is not JSON.", "/v1"),
        (came(b"\xff\xfe"), "The answer is not JSON.", "/v1"),
    ],
)
async def test_what_went_wrong_is_said_in_words(control: Control, outcome: Outcome, error: str, hint: str) -> None:
    """Each way to fail is told in words, with what to look at; the answer is a 200, since the gateway did as it was told."""
    found = await called(control, outcome)
    assert found["ok"] is False
    assert error in found["error"]
    assert hint in found["hint"]
    assert found["status"] == outcome.status
    assert "  " not in found["hint"]


async def test_a_missing_credential_is_told_from_a_wrong_one(control: Control) -> None:
    """Where none is set, a 401 does not speak of a wrong credential."""
    assert "none is set" in (await called(control, came(b"", 401), api_key=None))["hint"]


@pytest.mark.parametrize("content", [None, "", [{"type": "text"}]])
async def test_a_reply_without_text_is_shown_as_json(control: Control, content: object) -> None:
    """A model that says nothing, or calls a tool, answers all the same; its JSON is shown, 2,048 characters of it."""
    body = {"choices": [{"message": {"content": content, "reasoning": "x" * 4000}}]}
    found = await called(control, came(body))
    assert found["ok"]
    assert found["reply"].startswith('{\n  "choices"')
    assert len(found["reply"]) == 2048


async def test_a_long_reply_is_cut(control: Control) -> None:
    """Of a long text 2,048 characters are shown."""
    found = await called(control, came({"choices": [{"message": {"content": "長" * 3000}}]}))
    assert found["reply"] == "長" * 2048


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
        b'{"choices": [{"message": {}}], "x": "\\udfff"}',
        b'{"choices": [{"message": {"content": "\\u0000<script>"}}], "usage": {"prompt_tokens": 1e400, "total_tokens": -1}}',
    ],
)
async def test_odd_answers_break_nothing(control: Control, body: bytes) -> None:
    """Half characters, control characters and numbers that are none are told as far as they can be."""
    found = await called(control, came(body))
    assert found["ok"]
    assert found["usage"] == {"input_tokens": None, "output_tokens": None, "total_tokens": None}


@pytest.mark.parametrize("vector", [[], ["a"], [True], [10**400], "AAAA", None])
async def test_what_is_no_vector_is_no_embedding(control: Control, vector: object) -> None:
    """An embedding is a list of numbers, and nothing else is taken for one."""
    await control.put("/models/a", {"type": "embedding"})
    assert not (await called(control, came({"data": [{"embedding": vector}]}), {"model": "a"}))["ok"]


# The credential

ECHOES = [
    came({"choices": [{"message": {"content": f"You sent {SECRET} and {SECRET}"}}]}),
    came({"choices": [{"message": {"content": None}}], "headers": {"authorization": f"Bearer {SECRET}"}}),
    came(refusal(f"Incorrect API key provided: {SECRET}."), 401),
    came(refusal(SECRET), 401),
    came({SECRET: SECRET}, 400),
    came(SECRET.encode() * 3, 500),
    came(f"<a href='?key={httpx2.QueryParams({'k': SECRET})}'>{SECRET}</a>".encode()),
    came(b"", 302, location="http://elsewhere.test/?key=sk-up%2F%22stream%2Bsecret"),
    came(json.dumps({"error": SECRET}).replace("s", "\\u0073").encode(), 403),
    came(b"x" * 100 + SECRET.encode()[:-1], whole=False),
    came(SECRET.encode()[:-3], whole=False, cause=Cause.TIME, words=f"about {SECRET}"),
    Outcome(1, cause=Cause.OTHER, words=f"broken near {SECRET}"),
]


@pytest.mark.parametrize("outcome", ECHOES)
async def test_the_credential_is_never_shown(control: Control, outcome: Outcome) -> None:
    """Whatever repeats the credential, in whatever spelling, is shown with *** in its place; also where an answer was cut."""
    found = await called(control, outcome)
    text = json.dumps(found)
    for part in (SECRET, json.dumps(SECRET)[1:-1], "sk-up%2F", "sk-up/", "stream+secret", "stream%2Bsecret"):
        assert part not in text
        assert part not in found["reply"] if found["reply"] else True
    audit = (await control.get("/audit")).text
    assert "sk-up" not in audit


async def test_a_placeholder_is_no_credential(control: Control) -> None:
    """A credential of less than four characters, as local servers take any, hides nothing of the reply."""
    found = await called(control, came({"choices": [{"message": {"content": "-x- of X"}}]}), api_key="x")
    assert found["reply"] == "-x- of X"


# The real call


async def test_a_real_server_is_called(control: Control) -> None:
    """Through the real client the server sees the credential, a redirect is not followed, and a dead port is told as such."""

    async def script(call: Call) -> None:
        if call.number == 1:
            await call.reply(json.dumps(CHAT | {"echo": SECRET}).encode())
        else:
            await call.reply(b"", b"307 Temporary Redirect", b"location: /v1/other\r\n")

    async def none() -> list[Upstream]:
        return []

    trials = Trials(seconds=5)
    async with raw_upstream(script) as server:
        fixed = [server.upstream(id="real", api_key=SECRET, models={"m": "own"}, source="config")]
        fixed.append(Upstream("dead", "dead", f"http://127.0.0.1:{unused_port()}", models={"m": "m"}, source="config"))
        app = create_control(replace(control.services, upstreams=Managed(Directory(fixed, none), trials)))
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://gateway.test", headers=headers
        ) as http:
            replies = [await http.post(f"/admin/v1/upstreams/{name}/test", json={}) for name in ("real", "real", "dead")]
    await trials.close()
    assert [reply.status_code for reply in replies] == [200, 200, 200]
    first, second, third = (reply.json() for reply in replies)
    assert (first["ok"], first["reply"], first["usage"]["total_tokens"]) == (True, "Hello there", 5)
    assert (second["ok"], second["status"]) == (False, 307)
    assert "leads to /v1/other" in second["error"]
    assert (third["status"], third["error"].split(":")[0]) == (None, "The connection was refused")
    assert len(server.requests) == 2
    assert all(f"authorization: Bearer {SECRET}".encode() in request for request in server.requests)


async def test_test_calls_at_once(control: Control) -> None:
    """Test calls that arrive together are each made, and each leaves its row."""
    upstream_id = await made(control)
    replies = await asyncio.gather(*(control.post(f"/upstreams/{upstream_id}/test", {}) for _ in range(8)))
    assert {reply.status_code for reply in replies} == {200}
    assert (await control.actions()).count("upstream.test") == 8
