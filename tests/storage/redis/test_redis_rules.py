"""The rules that need no server: the breaker, what refusals mean, who goes first."""

import asyncio
from typing import Any

import pytest

from gateway.storage.redis.breaker import Breaker
from gateway.storage.redis.queue import Entry, Queue
from gateway.storage.redis.refusals import Refusal
from gateway.storage.redis.state import Limits


def test_three_failures_in_a_row_are_too_many() -> None:
    """An answer in between starts the count again."""
    breaker = Breaker(3)
    assert [breaker.failed(), breaker.failed()] == [False, False]
    breaker.answered()
    assert [breaker.failed(), breaker.failed(), breaker.failed()] == [False, False, True]


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_probes_back_off(chance: float) -> None:
    """Pauses grow from 50 ms to at most 1 s, and a greeting alone does not start them again: an answer does."""
    breaker = Breaker(3, chance=lambda: chance)
    pauses = [breaker.pause() for _ in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.05
    assert 0.5 <= pauses[-1] <= 1.0
    breaker.close()
    assert breaker.pause() == pauses[-1]
    breaker.answered()
    assert breaker.pause() == 0.05


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        ("MOVED 866 10.0.0.2:6379", "MOVED"),
        ("ERR unknown command", "ERR"),
        ("no code at all", "ERR"),
        ("ERR Error running script (call to f_ab): @user_script:3: @user_script: 3: -READONLY You can't write ", "READONLY"),
        ("ERR Error running script (call to f_ab): @user_script:3: -OOM command not allowed ", "OOM"),
        ("ERR Error running script (call to f_ab): @user_script:1: attempt to index a nil value ", "ERR"),
        ("ERR Error running script (call to f_ab): Script attempted to access a non local key in a cluster node", "TRYAGAIN"),
    ],
)
def test_what_a_refusal_is_about(text: str, code: str) -> None:
    """The code is the first word; before Redis 7, that of the error which the script met stands within."""
    assert Refusal(text).code == code


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("MOVED 866 10.0.0.2:7001", ("10.0.0.2", 7001)),
        ("ASK 866 2001:db8::2:7001", ("2001:db8::2", 7001)),
        ("MOVED 866 node.example:7001", ("node.example", 7001)),
        ("MOVED 866 :7001", ("asked", 7001)),
    ],
)
def test_where_a_refusal_points(text: str, target: tuple[str, int]) -> None:
    """A redirection names a host and a port; without a host, it means the one that was asked."""
    assert Refusal(text).target("asked") == target


def test_a_redirection_to_nowhere_is_noticed() -> None:
    """A redirection without a port cannot be followed."""
    with pytest.raises(ValueError, match="not enough values"):
        Refusal("MOVED 866").target("asked")


async def test_who_goes_first() -> None:
    """Admissions before rides; with rides overdue, admissions leave them some room; detours before all, by themselves."""
    queue = Queue(Limits(), lambda: None, lambda: None)
    loop = asyncio.get_running_loop()

    def entry(name: str) -> Entry:
        return Entry(loop.create_future(), name, loop.time() + 1, "a", ride=False)

    def take() -> list[Any]:
        return [taken.item for taken in queue.take()[0]]

    for number in range(100):
        queue.ask(loop.create_future(), "a", number)
    for number in range(30):
        queue.ride(loop.create_future(), "a", f"ride {number}")
    assert take() == list(range(64))
    queue.rides_are_due()
    queue.detour([entry("detour")])
    queue.again(entry("again"))
    assert take() == ["detour"]
    assert take() == ["again", *range(64, 100), *(f"ride {number}" for number in range(27))]
    assert take() == ["ride 27", "ride 28", "ride 29"]
    assert take() == []
    queue.ride(loop.create_future(), "a", "not yet")
    assert take() == []
    queue.close()
