"""People with roles and sessions for tests of the admin API, put into the database directly: hashing a password takes long."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx2
import pytest
from argon2 import PasswordHasher

from gateway.control import passwords
from gateway.control import sessions as secrets
from gateway.domain import ids
from gateway.domain.roles import INSTALLATION, Membership, Place, Role
from gateway.storage.sql import accounts, members, sessions, users, workspaces
from gateway.storage.sql.accounts import AccountRow
from gateway.storage.sql.engine import reading, writing
from gateway.storage.sql.sessions import SessionRow
from gateway.storage.sql.users import UserRow, UserStatus
from gateway.storage.sql.workspaces import WorkspaceRow
from tests.control.admin_api import Control

PASSWORD = "correct horse battery staple"
ORIGIN = "http://gateway.test"
OPERATOR = Membership(Role.OPERATOR, INSTALLATION)
_numbers = itertools.count(1)


CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Makes true hashes, quickly."""


@cache
def cheap_hash(password: str) -> str:
    return CHEAP.hash(password)


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hashing that takes no time, for tests that sign in very often."""
    monkeypatch.setattr(passwords, "_hasher", CHEAP)
    passwords._nobodys.cache_clear()
    yield
    passwords._nobodys.cache_clear()


@dataclass(frozen=True)
class Person:
    """Somebody with a session; `secret` is what their browser's cookie holds."""

    user: UserRow
    session_id: str
    secret: str

    @property
    def id(self) -> str:
        return self.user.id

    @property
    def email(self) -> str:
        return self.user.email


def owner(account_id: str) -> Membership:
    return Membership(Role.OWNER, Place(account_id))


def held(role: str, account_id: str, workspace_id: str | None = None) -> Membership:
    return Membership(Role(role), Place(account_id, workspace_id))


async def add_person(
    control: Control, *given: Membership, email: str = "", name: str = "Kim", password: str = PASSWORD
) -> Person:
    """A new person with these roles, and a session."""
    services, now = control.services, control.services.now_ms()
    user = UserRow(ids.user_id(), email or f"person-{next(_numbers)}@example.com", name, UserStatus.ACTIVE, now)
    async with writing(services.engine) as conn:
        assert await users.insert(conn, user, cheap_hash(password))
        for each in given:
            await members.put(conn, user.id, each, now)
    return await add_session(control, user)


async def add_session(control: Control, user: UserRow) -> Person:
    """Another session of somebody."""
    services, now, secret = control.services, control.services.now_ms(), secrets.new_secret()
    row = SessionRow(ids.session_id(), user.id, now, now, "192.0.2.1", "Test browser")
    async with writing(services.engine) as conn:
        await sessions.insert(conn, row, secrets.digest(services, secret))
    return Person(user, row.id, secret)


async def add_account(control: Control, name: str = "Company") -> tuple[str, str]:
    """A new account: its ID and that of its default workspace."""
    account = AccountRow(ids.account_id(), name, is_default=False, created_at=control.services.now_ms())
    async with writing(control.services.engine) as conn:
        await accounts.insert(conn, account)
    return account.id, await add_workspace(control, account.id, "Default Workspace", is_default=True)


async def add_workspace(control: Control, account_id: str, name: str = "team", *, is_default: bool = False) -> str:
    row = WorkspaceRow(ids.workspace_id(), account_id, name, is_default=is_default, created_at=control.services.now_ms())
    async with writing(control.services.engine) as conn:
        await workspaces.insert(conn, row)
    return row.id


class Browser:
    """Requests as a person's browser sends them from a page of the console: with the cookie, the origin, and the page's token."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.http.get(path, **options)

    async def send(self, method: str, path: str, body: object = None) -> httpx2.Response:
        """A change by the admin API: `path` stands below `/admin/v1`."""
        return await self.http.request(method, f"/admin/v1{path}", json=body)

    async def form(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> httpx2.Response:
        """A plain HTML form."""
        return await self.http.post(path, data=fields, headers=headers or {})


@asynccontextmanager
async def browser(
    control: Control, person: Person | None = None, *, origin: str = ORIGIN, client: str = "127.0.0.1"
) -> AsyncIterator[Browser]:
    """A browser in which `person` is signed in, or nobody; it comes from the network address `client`."""
    headers, cookies = {"origin": origin}, {}
    if person is not None:
        headers["x-csrf-token"] = secrets.csrf_token(person.secret)
        cookies[secrets.PLAIN_COOKIE] = person.secret
    transport = httpx2.ASGITransport(app=control.app, client=(client, 1))
    async with httpx2.AsyncClient(transport=transport, base_url=origin, headers=headers, cookies=cookies) as http:
        yield Browser(http)


@dataclass
class Team:
    """An account with a workspace, its owner and its admin."""

    account_id: str
    workspace_id: str
    owner: Person
    admin: Person


@pytest.fixture
async def team(control: Control) -> Team:
    await add_person(control, OPERATOR)
    account_id, _ = await add_account(control)
    workspace_id = await add_workspace(control, account_id)
    boss = await add_person(control, owner(account_id), email="owner@example.com")
    admin = await add_person(control, held("admin", account_id, workspace_id), email="admin@example.com")
    return Team(account_id, workspace_id, boss, admin)


async def send(control: Control, person: Person, method: str, path: str, body: object = None) -> httpx2.Response:
    async with browser(control, person) as page:
        return await page.send(method, path, body)


async def invite(
    control: Control, person: Person, role: str, place: dict[str, str], email: str = "new@example.com"
) -> httpx2.Response:
    return await send(control, person, "POST", "/invitations", {"email": email, "role": role, **place})


async def join(control: Control, path: str, name: str = "New", password: str = PASSWORD) -> httpx2.Response:
    async with browser(control, client="192.0.2.50") as page:
        return await page.form(path, name=name, password=password)


async def roles(control: Control, email: str) -> set[tuple[str, str]]:
    """What somebody holds: role and place."""
    async with reading(control.services.engine) as conn:
        found = await users.by_email(conn, email)
        return (
            set() if found is None else {(each.role.value, each.place.scope) for each in await members.of_user(conn, found[0].id)}
        )
