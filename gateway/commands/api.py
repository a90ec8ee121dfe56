"""The way of the management commands to the gateway: its admin API, over HTTP where it runs, else in this process.

Where the data folder is free, the command takes its lock and builds the application itself, without a server: the same routes,
the same checks and the same audit trail answer either way.
"""

import asyncio
import functools
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import click
import httpx2

from gateway.commands import folder, output, secret_files
from gateway.commands.output import Failure
from gateway.config import Settings

PREFIX = "/admin/v1"
DATA_PREFIX = "/compatible-mode/v1"
_WAIT_SECONDS = 15.0
_TIMEOUT_SECONDS = 30.0
_PAGE = 1000
_HIGHEST_FINE = 399
_TOKEN = re.compile(r"[!-~]+")

Command = TypeVar("Command", bound=Callable[..., Any])


def part(text: str) -> str:
    """A part of an address: an ID or a model's name, whose slashes stay.

    Raises Failure for an empty text, such as a variable of a script that is not set, and for one with `.` or `..` between
    slashes: on the way these would be resolved, and the command would act on something else.
    """
    if not text or {".", ".."} & set(text.split("/")):
        raise Failure(f"{text!r} is no ID and no name", "Give the ID or the name as a list command shows it.")
    return quote(text, safe="/")


class Api:
    """Requests to the admin API. Every method raises Failure, with the API's own words, for an answer that is an error."""

    def __init__(self, runner: asyncio.Runner, client: httpx2.AsyncClient, url: str) -> None:
        self._runner = runner
        self._client = client
        self._url = url

    def get(self, path: str, **query: object) -> Any:
        return self._send("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._send("POST", path, body=body)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._send("PUT", path, body=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._send("PATCH", path, body=body)

    def delete(self, path: str) -> Any:
        return self._send("DELETE", path)

    def every(self, path: str, **query: object) -> dict[str, Any]:
        """A list with all its pages as one."""
        listing: dict[str, Any] = self.get(path, limit=_PAGE, **query)
        while listing["next_cursor"] is not None:
            more = self.get(path, limit=_PAGE, cursor=listing["next_cursor"], **query)
            listing = {**more, "data": listing["data"] + more["data"]}
        return listing

    def _send(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        try:
            reply = self._runner.run(self._client.request(method, path, params=given, json=body))
        except httpx2.TransportError as error:
            words = str(error) or type(error).__name__
            raise Failure(
                f"the gateway at {self._url} cannot be reached: {words}", "Check its address and that it runs."
            ) from None
        if reply.status_code > _HIGHEST_FINE:
            raise Failure(_refusal(reply))
        if not reply.content:
            return None
        try:
            return reply.json()
        except ValueError:
            raise Failure(f"what answers at {self._url} is not a gateway's admin API", "Check the address.") from None


def _refusal(reply: httpx2.Response) -> str:
    try:
        problem = reply.json()
        detail = str(problem["detail"])
    except (ValueError, TypeError, KeyError):
        status = f"{reply.status_code} {reply.reason_phrase}"
        return f"what answers at {reply.url.copy_with(path='/')} is no gateway's admin API: it said {status}. Check the address."
    request_id = problem.get("request_id")
    internal = reply.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR
    return f"{detail} (request {request_id})" if internal and request_id else detail


@contextmanager
def connect(url: str | None, token: str | None) -> Iterator[Api]:
    """The admin API at `url`, or of the gateway whose data folder this is. `token` None: the one of settings or data folder."""
    settings = output.settings()
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        if url:
            root = _root(url)
            yield stack.enter_context(_requests(runner, root, token or _token_for(root, settings)))
            return
        for warning in folder.prepare(settings.storage.data_dir):
            output.warn(warning)
        found = folder.take_or_find(settings.storage.data_dir, _WAIT_SECONDS)
        if isinstance(found, str):
            yield stack.enter_context(_requests(runner, found, token or _token_for(found, settings), trust_env=False))
            return
        stack.enter_context(folder.held(found))
        if settings.database_file is not None and not settings.database_file.exists():
            output.warn(
                f"the data folder {settings.storage.data_dir} is new, and this is all there is in it; "
                "to manage a gateway that has another, set GATEWAY_DATA_DIR or give --url"
            )
        # Imported late: a command that speaks to a running gateway need not wait for all of its parts.
        from gateway.commands import offline  # noqa: PLC0415 — see above

        app, own_token = stack.enter_context(offline.opened(runner, settings))
        transport = httpx2.ASGITransport(app=app)
        yield stack.enter_context(_requests(runner, "http://gateway.invalid", token or own_token, transport=transport))


def _root(url: str) -> str:
    """The address of a gateway from one that was given, which may be that of its admin API or of its endpoint."""
    if not url.startswith(("http://", "https://")):
        raise Failure(f"{url!r} is no address of a gateway", "Give one such as http://127.0.0.1:8080.")
    root = url.rstrip("/")
    for known in (PREFIX, DATA_PREFIX):
        root = root.removesuffix(known)
    return root.rstrip("/")


def _token_for(url: str, settings: Settings) -> str:
    """The admin token for a gateway; that of the data folder is sent to this machine only."""
    if settings.secrets.admin_token is not None:
        return settings.secrets.admin_token.get_secret_value()
    found = secret_files.admin_token(settings) if _is_local(url) else None
    if found is None:
        raise Failure(
            "there is no admin token to send",
            "Set GATEWAY_ADMIN_TOKEN, or give --token; one that a gateway made is the file admin-token in its data folder.",
        )
    return found


def _is_local(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _requests(runner: asyncio.Runner, url: str, token: str, **options: Any) -> Iterator[Api]:
    if not _TOKEN.fullmatch(token):
        raise Failure("the admin token has characters that no header can carry", "Give it as it was made.")
    headers = {"authorization": f"Bearer {token}"}
    try:
        client = httpx2.AsyncClient(base_url=url + PREFIX, headers=headers, timeout=_TIMEOUT_SECONDS, **options)
    except (httpx2.InvalidURL, UnicodeError):
        raise Failure(f"{url!r} is no address of a gateway", "Give one such as http://127.0.0.1:8080.") from None
    try:
        yield Api(runner, client, url)
    finally:
        runner.run(client.aclose())


class Work:
    """What a management command is given: the API, and how to print what it answers."""

    def __init__(self, api: Api, *, json: bool) -> None:
        self.api = api
        self.json = json

    def listing(self, listing: Mapping[str, Any], columns: list[str], nothing: str) -> None:
        if self.json:
            output.as_json(listing)
        else:
            output.table(listing["data"], columns, nothing)

    def show(self, row: Mapping[str, Any]) -> None:
        if self.json:
            output.as_json(row)
        else:
            output.record(row)

    def done(self, text: str) -> None:
        """For a change that the API answers with nothing."""
        if self.json:
            output.as_json(None)
        else:
            click.echo(text)

    def note(self, text: str) -> None:
        """A remark for people, which is no part of the answer."""
        if not self.json:
            click.echo(text, err=True)

    def account(self, account: str | None) -> str:
        """An account's ID from an ID or a name; None is the default account."""
        rows = self.api.every("/accounts")["data"]
        if account is None:
            return str(next(row["id"] for row in rows if row["is_default"]))
        return _one(rows, account, "account")

    def workspace(self, workspace: str | None) -> str:
        """A workspace's ID from an ID or a name; None is the default account's default workspace."""
        if workspace is None:
            rows = self.api.every("/workspaces", account_id=self.account(None))["data"]
            return str(next(row["id"] for row in rows if row["is_default"]))
        return _one(self.api.every("/workspaces")["data"], workspace, "workspace")


def _one(rows: list[dict[str, Any]], wanted: str, kind: str) -> str:
    by_id = [row["id"] for row in rows if row["id"] == wanted]
    found = by_id or [row["id"] for row in rows if row["name"] == wanted]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise Failure(f"{len(found)} {kind}s are called {wanted}; give one of their IDs: {', '.join(found)}.")
    raise Failure(f"There is no {kind} with the ID or the name {wanted}.")


def manages(command: Command) -> Command:
    """Give a command its `Work` as first argument, and the options that all management commands have."""

    @click.option("--json", "json", is_flag=True, help="Print the admin API's JSON.")
    @click.option("--url", envvar="GATEWAY_URL", help="The gateway's address; left out, it is found by the data folder.")
    @click.option("--token", help="The admin token; better set GATEWAY_ADMIN_TOKEN, which no process list shows.")
    @functools.wraps(command)
    def connected(*args: Any, json: bool, url: str | None, token: str | None, **options: Any) -> None:
        with connect(url, token) as api:
            command(Work(api, json=json), *args, **options)

    return connected  # type: ignore[return-value]  # click calls it with the options it declares
