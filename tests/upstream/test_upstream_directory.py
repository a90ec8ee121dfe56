"""Which upstreams there are, who serves a model, who is ejected and let back in."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.domain.faults import KeyStoreUnavailable
from gateway.domain.upstreams import Deployment, Upstream
from gateway.upstream.directory import Directory
from gateway.upstream.health import Health


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Database:
    """The stored upstreams, as the directory reads them."""

    def __init__(self, *upstreams: Upstream) -> None:
        self.upstreams = list(upstreams)
        self.away = False

    async def read(self) -> list[Upstream]:
        if self.away:
            raise KeyStoreUnavailable("away")
        return list(self.upstreams)


def upstream(name: str, *models: str, **changes: object) -> Upstream:
    values: dict[str, object] = {
        "id": f"up-{name}",
        "name": name,
        "base_url": f"http://{name}/v1",
        "models": dict.fromkeys(models, "own") if models else {"m": "own"},
    }
    return Upstream(**(values | changes))  # type: ignore[arg-type]


def directory(
    *upstreams: Upstream, clock: Clock | None = None, chance: Callable[[], float] | None = None, jitter: float = 0.0
) -> Directory:
    health = Health(clock=clock or Clock(), chance=lambda: jitter)
    return Directory(upstreams, Database().read, health=health, chance=chance or random.Random(7).random)


def must_choose(which: Directory, tried: list[Deployment] | None = None) -> Deployment:
    chosen = which.choose("m", tried or [])
    assert chosen is not None
    return chosen


def fail(which: Directory, deployment: Deployment, times: int = 5) -> None:
    for _ in range(times):
        which.report(deployment, healthy=False)


# Choice


def test_choice_names_the_upstreams_own_model() -> None:
    """A deployment carries all that a call needs of it, but never the credential."""
    chosen = must_choose(directory(upstream("a", api_key="secret", weight=3)))
    assert chosen == Deployment("up-a", "a", "m", "own", "http://a/v1", 3)
    assert "secret" not in repr(chosen)


def test_choice_is_by_weight() -> None:
    """Three times the weight is three times the calls."""
    which = directory(upstream("a", weight=3), upstream("b", weight=1), upstream("c", weight=0))
    drawn = Counter(must_choose(which).upstream_name for _ in range(4000))
    assert drawn["c"] == 0
    assert 2850 < drawn["a"] < 3150


def test_weight_of_zero_serves_when_nothing_else_does() -> None:
    """An upstream of weight 0 is a reserve: it takes the calls that nobody else can."""
    which = directory(upstream("a", weight=0), upstream("b", weight=1), upstream("c", weight=0))
    first = must_choose(which)
    assert first.upstream_name == "b"
    assert must_choose(which, [first]).upstream_name in "ac"


def test_what_was_tried_is_not_chosen_again() -> None:
    """A retry goes to another deployment, and ends when there is none left."""
    which = directory(upstream("a"), upstream("b"))
    first = must_choose(which)
    second = must_choose(which, [first])
    assert {first.upstream_name, second.upstream_name} == {"a", "b"}
    assert which.choose("m", [first, second]) is None


def test_disabled_upstream_and_unknown_model_are_not_chosen() -> None:
    """A disabled upstream takes no call, and a model that nobody serves has no deployment."""
    which = directory(upstream("a", enabled=False), upstream("b", "other"))
    assert which.choose("m", []) is None
    assert which.choose("nothing", []) is None
    assert list(which.served) == ["other"]


# Health


def test_failures_in_a_row_eject() -> None:
    """Five failures in a row eject; a success in between starts the count again."""
    which = directory(upstream("a"), upstream("b"))
    a = next(iter(which.served["m"]))
    fail(which, a, 4)
    which.report(a, healthy=True)
    fail(which, a, 4)
    assert which.states()[0].state == "healthy"
    fail(which, a, 1)
    assert which.states()[0].state == "ejected"
    assert {must_choose(which).upstream_name for _ in range(50)} == {"b"}


def test_ejection_covers_every_model_of_the_upstream() -> None:
    """Failures are the server's, not the model's."""
    which = directory(upstream("a", "m", "n"))
    fail(which, which.served["n"][0])
    assert which.choose("m", []) is None


def test_one_probe_after_the_ejection() -> None:
    """When the ejection is over exactly one call is let through; its success lets the upstream back in."""
    clock = Clock()
    which = directory(upstream("a"), clock=clock)
    a = must_choose(which)
    fail(which, a)
    clock.now += 0.99
    assert which.choose("m", []) is None
    clock.now += 0.01
    assert must_choose(which) == a
    assert which.choose("m", []) is None
    assert which.states()[0].state == "ejected"
    which.report(a, healthy=True)
    assert which.states()[0].state == "healthy"
    assert must_choose(which) == a
    fail(which, a, 4)
    assert must_choose(which) == a


def test_ejections_double_up_to_a_minute() -> None:
    """Each probe that fails doubles the time, from one second to sixty; a success starts again at one."""
    clock = Clock()
    which = directory(upstream("a"), clock=clock)
    a = must_choose(which)
    fail(which, a)
    for lasts in (1, 2, 4, 8, 16, 32, 60, 60):
        clock.now += lasts - 0.01
        assert which.choose("m", []) is None
        clock.now += 0.01
        assert must_choose(which) == a
        fail(which, a, 1)
    clock.now += 60
    which.choose("m", [])
    which.report(a, healthy=True)
    fail(which, a)
    clock.now += 1
    assert must_choose(which) == a


def test_ejections_have_jitter() -> None:
    """An ejection lasts up to a fifth longer, so that many processes do not probe at one moment."""
    clock = Clock()
    which = directory(upstream("a"), clock=clock, jitter=1.0)
    fail(which, must_choose(which))
    clock.now += 1.19
    assert which.choose("m", []) is None
    clock.now += 0.02
    assert which.choose("m", []) is not None


def test_probe_without_an_answer_is_given_up() -> None:
    """A probe whose caller left says nothing; after a while another is let through."""
    clock = Clock()
    which = directory(upstream("a"), clock=clock)
    fail(which, must_choose(which))
    clock.now += 1
    which.choose("m", [])
    clock.now += 29
    assert which.choose("m", []) is None
    clock.now += 1
    assert which.choose("m", []) is not None


def test_late_reports_do_not_touch_an_ejection() -> None:
    """Calls that began before the ejection neither end it nor make it longer."""
    clock = Clock()
    which = directory(upstream("a"), clock=clock)
    a = must_choose(which)
    fail(which, a, 50)
    which.report(a, healthy=True)
    assert which.choose("m", []) is None
    clock.now += 1
    assert which.choose("m", []) is not None


# Reload


async def test_reload_takes_what_the_database_holds() -> None:
    """Upstreams appear, change and disappear with a reload; the fixed ones stay, and win where an ID is in both."""
    database = Database(upstream("b"), upstream("a", "impostor"))
    which = Directory([upstream("a")], database.read)
    assert [state.upstream.name for state in which.states()] == ["a"]
    await which.reload()
    assert [deployment.upstream_name for deployment in which.served["m"]] == ["a", "b"]
    assert "impostor" not in which.served
    database.upstreams = [upstream("b", "n")]
    await which.reload()
    assert [deployment.upstream_name for deployment in which.served["m"]] == ["a"]
    assert "n" in which.served
    database.upstreams = []
    await which.reload()
    assert set(which.served) == {"m"}


async def test_failed_reload_keeps_what_was_known() -> None:
    """With the database away the known upstreams go on serving."""
    database = Database(upstream("b"))
    which = Directory([], database.read)
    await which.reload()
    database.away = True
    with pytest.raises(KeyStoreUnavailable):
        await which.reload()
    assert "m" in which.served


async def test_another_server_under_the_same_id_starts_afresh() -> None:
    """Health, errors and listed names belong to a server: a new address inherits none of them, another weight all."""
    database = Database(upstream("a", lists_models=True))
    which = Directory([], database.read)
    await which.reload()
    old = database.upstreams[0]
    which.listed_now(old, ("listed",))
    which.call_failed(old, "refused")
    fail(which, which.served["m"][0])

    database.upstreams = [upstream("a", lists_models=True, weight=2)]
    await which.reload()
    assert (which.states()[0].state, which.states()[0].last_error) == ("ejected", "refused")
    assert "listed" in which.served

    database.upstreams = [upstream("a", lists_models=True, base_url="http://elsewhere")]
    await which.reload()
    assert (which.states()[0].state, which.states()[0].last_error) == ("healthy", None)
    assert "listed" not in which.served
    which.listed_now(old, ("late",))
    which.call_failed(old, "late")
    assert "late" not in which.served
    assert which.states()[0].last_error is None


async def test_report_on_a_removed_upstream_is_forgotten() -> None:
    """Calls that end after their upstream was removed leave nothing behind."""
    database = Database(upstream("a"))
    which = Directory([], database.read)
    await which.reload()
    deployment = which.served["m"][0]
    database.upstreams = []
    await which.reload()
    fail(which, deployment)
    database.upstreams = [upstream("a")]
    await which.reload()
    assert which.states()[0].state == "healthy"


# What the admin API shows


def test_states_show_names_and_errors() -> None:
    """The states name explicit and listed models, and the last error until a call goes well."""
    which = directory(upstream("a", "z", lists_models=True), upstream("b", enabled=False))
    a = which.states()[0].upstream
    which.listed_now(a, ("k", "z"))
    which.listing_failed(a, "no list")
    assert (which.states()[0].models, which.states()[0].last_error) == (["k", "z"], "no list")
    which.call_failed(a, "refused")
    assert which.states()[0].last_error == "refused"
    which.report(which.served["z"][0], healthy=True)
    assert which.states()[0].last_error == "no list"
    which.listed_now(a, ("k", "z"))
    assert which.states()[0].last_error is None
    assert which.states()[1].state == "disabled"


def test_explicit_name_wins_over_a_listed_one() -> None:
    """Where the settings map a name, what the upstream lists under that name does not undo it."""
    which = directory(upstream("a", lists_models=True))
    which.listed_now(which.states()[0].upstream, ("m", "n"))
    assert [deployment.upstream_model for deployment in which.served["m"]] == ["own"]
    assert [deployment.upstream_model for deployment in which.served["n"]] == ["n"]
