"""What people do at once to their sessions, links and attempts has one outcome, on both databases."""

import asyncio

from gateway.domain.roles import INSTALLATION, Membership, Role
from gateway.storage.sql import links, members, throttles, users
from gateway.storage.sql.engine import AsyncEngine, reading, writing
from gateway.storage.sql.links import LinkKind, LinkRow
from gateway.storage.sql.users import UserRow, UserStatus

_NAMES = ["pair:a", "email:a", "client:a"]
_MOST = 5


async def _operator(engine: AsyncEngine, number: int) -> str:
    user = UserRow(f"usr-{number}", f"{number}@example.com", "Kim", UserStatus.ACTIVE, 1)
    async with writing(engine) as conn:
        assert await users.insert(conn, user, None)
        await members.put(conn, user.id, Membership(Role.OPERATOR, INSTALLATION), 1)
    return user.id


async def test_attempts_at_once_see_each_other(engine: AsyncEngine) -> None:
    """Of twenty attempts that begin together, each counts those before it: no more pass than would one after another."""

    async def attempt() -> bool:
        async with writing(engine) as conn:
            counted = await throttles.hold(conn, _NAMES, 1000)
            if counted["pair:a"][0] >= _MOST:
                return False
            await throttles.strike(conn, _NAMES, 1000, 0)
            return True

    passed = await asyncio.gather(*(attempt() for _ in range(20)))
    assert passed.count(True) == _MOST


async def test_attempts_and_successes_do_not_block_each_other(engine: AsyncEngine) -> None:
    """Attempts for the same names, given in any order, and old names being forgotten meanwhile, wait for each other and end."""
    async with writing(engine) as conn:
        await throttles.strike(conn, _NAMES, 1, 0)

    async def attempt(number: int) -> None:
        async with writing(engine) as conn:
            await throttles.hold(conn, _NAMES[number % 3 :] + _NAMES[: number % 3], 1000)
            await throttles.strike(conn, _NAMES, 1000, 0)
            await throttles.delete_old(conn, 900)

    await asyncio.gather(*(attempt(number) for number in range(20)))
    async with writing(engine) as conn:
        assert await throttles.hold(conn, _NAMES, 2000) == dict.fromkeys(_NAMES, (21, 1000))


async def test_old_attempts_are_forgotten(engine: AsyncEngine) -> None:
    """A name that nobody has counted for since is deleted; a count that is older than asked for begins anew."""
    async with writing(engine) as conn:
        await throttles.strike(conn, ["old", "older"], 100, 0)
        await throttles.strike(conn, ["old"], 500, 0)
        await throttles.delete_old(conn, 500)
        assert await throttles.hold(conn, ["old", "older"], 600) == {"old": (2, 500), "older": (0, 600)}
        await throttles.strike(conn, ["old"], 900, 501)
        assert (await throttles.hold(conn, ["old"], 900))["old"] == (1, 900)


async def test_a_link_is_used_once(engine: AsyncEngine) -> None:
    """Of ten who open the same link together, one gets it."""
    given = Membership(Role.OPERATOR, INSTALLATION)
    row = LinkRow("lnk-1", LinkKind.INVITE, "kim@example.com", "admin token", 1, 1000, membership=given)
    async with writing(engine) as conn:
        await links.insert(conn, row, b"digest")

    async def use() -> LinkRow | None:
        async with writing(engine) as conn:
            return await links.use(conn, b"digest", 999)

    found = await asyncio.gather(*(use() for _ in range(10)))
    assert [each for each in found if each is not None] == [row]


async def test_a_link_expires(engine: AsyncEngine) -> None:
    """From the moment of its end a link is neither found nor taken, and then forgotten."""
    row = LinkRow("lnk-1", LinkKind.INVITE, "", "admin token", 1, 1000, membership=Membership(Role.OPERATOR, INSTALLATION))
    async with writing(engine) as conn:
        await links.insert(conn, row, b"digest")
        assert await links.find(conn, b"digest", 999) == row
        assert await links.find(conn, b"digest", 1000) is None
        assert await links.use(conn, b"digest", 1000) is None
        await links.delete_old(conn, 999)
        assert await links.get(conn, "lnk-1") == row
        await links.delete_old(conn, 1000)
        assert await links.get(conn, "lnk-1") is None


async def test_operators_who_remove_each_other(engine: AsyncEngine) -> None:
    """Two operators who take each other's role at the same time: one stays."""
    for number in range(5):
        pair = [await _operator(engine, 2 * number), await _operator(engine, 2 * number + 1)]

        async def remove(user_id: str) -> bool:
            async with writing(engine) as conn:
                if list(await members.active_operators(conn)) == [user_id]:
                    return False
                await members.delete(conn, user_id, "")
                return True

        assert sorted(await asyncio.gather(*(remove(each) for each in pair))) == [False, True]
        async with reading(engine) as conn:
            (left,) = await members.active_operators(conn)
        async with writing(engine) as conn:
            await members.delete(conn, left, "")
