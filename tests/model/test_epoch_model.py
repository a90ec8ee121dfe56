"""The protocol of the policy epochs holds over every interleaving that the model can take, and each of its rules is needed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.model.epochs import Model
from tests.model.explore import Result, Step, dead_ends, explore
from tests.model.rules import Bounds, Rules
from tests.model.state import EPOCH, FAULTS, KINDS, State

RESTARTS = frozenset({"flush", "empty", "aof"})
FAILOVER = frozenset({"failover"})
LOCAL = frozenset({"unreachable", "flush"})
EVERYTHING = RESTARTS | FAILOVER | LOCAL


def searched(rules: Rules, bounds: Bounds, depth: int | None = None) -> Result[State]:
    model = Model(rules, bounds)
    return explore(model.first(), model.steps, depth=depth)


# The whole protocol. `None` as depth: everything that can be reached within the bounds, however long the history.
WHOLE = {
    "restarts, two faults": (Bounds(kinds=RESTARTS, faults=2), None),
    "restarts, two changes": (Bounds(kinds=RESTARTS, changes=2, timeouts=False), None),
    "restarts, two processes": (Bounds(kinds=RESTARTS, processes=2, timeouts=False), 13),
    "fail-over and back": (Bounds(kinds=FAILOVER, faults=2, timeouts=False), None),
    "fail-over, late admissions": (Bounds(kinds=FAILOVER), None),
    "fail-over, two processes": (Bounds(kinds=FAILOVER, processes=2, timeouts=False), 15),
    "local mode beside Redis": (Bounds(kinds=LOCAL, processes=2, timeouts=False), None),
    "a key that starts disabled": (Bounds(kinds=LOCAL, changes=2, starts_enabled=False, timeouts=False), None),
    "all faults": (Bounds(kinds=EVERYTHING, timeouts=False), None),
    "all at once": (Bounds(kinds=EVERYTHING, processes=2, changes=2, faults=2), 7),
}


@pytest.mark.parametrize("name", WHOLE)
def test_no_call_is_decided_against_an_acknowledged_change(name: str) -> None:
    """Whatever fails, in whatever order: a call that starts after an acknowledgement is decided by that policy or a newer one."""
    bounds, depth = WHOLE[name]
    result = searched(Rules(), bounds, depth)
    print(result)  # noqa: T201 — pytest -rP shows how much was looked at
    assert not result.violated, str(result)
    assert result.complete == (depth is None)
    assert result.kinds["admitted"]
    assert result.kinds["refused"]


def test_every_kind_of_step_is_taken() -> None:
    """The searches are not empty: each kind of step that the model knows happens, with calls admitted and refused."""
    taken: Counter[str] = Counter()
    for kinds in (RESTARTS, FAILOVER, LOCAL):
        taken += searched(Rules(), Bounds(kinds=kinds, sweeper=True), 13).kinds
    assert set(taken) == KINDS


# What is taken out, and a history in which that can be seen.
ONE = Bounds(faults=0)
FLUSHED = Bounds(kinds=frozenset({"flush"}), timeouts=False)
FROM_FILE = Bounds(kinds=frozenset({"aof"}), timeouts=False)
TWO_CHANGES = replace(FLUSHED, changes=2)
TWO_PROCESSES = replace(FLUSHED, processes=2)
SPLIT = Bounds(kinds=FAILOVER, processes=2, timeouts=False)
THERE_AND_BACK = Bounds(kinds=FAILOVER, faults=2, timeouts=False)
BESIDE = Bounds(kinds=frozenset({"unreachable"}), processes=2, timeouts=False)
WITHOUT = {
    "1, 5: raised before the commit": (Rules(raise_after_commit=False), FLUSHED),
    "1: acknowledged before the raise": (Rules(acknowledge_after_raise=False), ONE),
    "1: a raise sets the epoch": (Rules(raise_takes_the_highest=False), replace(ONE, changes=2)),
    "1: acknowledged while Redis cannot be reached": (Rules(unraised_is_not_acknowledged=False), BESIDE),
    "1: a repeated change is acknowledged without a raise": (Rules(repeat_raises=False), ONE),
    "2: policy and epoch from two statements": (Rules(one_statement=False), FLUSHED),
    "2: read from a replica of the database": (Rules(primary=False), FLUSHED),
    "2, 5: joins a read that was sent before the nonce": (Rules(join_unsent_reads_only=False), FLUSHED),
    "2, local mode: joins a read that was sent before the call": (Rules(join_unsent_reads_only=False), BESIDE),
    "3: a cached key is not compared": (Rules(calls_are_compared=False), ONE),
    "4: a cached refusal is not compared": (Rules(refusals_are_compared=False), replace(ONE, starts_enabled=False)),
    "5: a missing epoch is not stale": (Rules(missing_is_stale=False), FLUSHED),
    "5: N without R": (Rules(identity_is_compared=False), FROM_FILE),
    "5: R is the run ID": (Rules(identity_per_promotion=False), THERE_AND_BACK),
    "5: R is what the handshake learnt": (Rules(identity_is_the_servers=False), THERE_AND_BACK),
    "5a: a raise installs over nothing": (Rules(raise_installs_over_nothing=True), TWO_CHANGES),
    "5a: a raise installs over another R": (Rules(raise_installs_over_foreign=True), replace(FROM_FILE, changes=2)),
    "5a: a raise installs over a placeholder": (Rules(raise_installs_over_placeholder=True), TWO_CHANGES),
    "5a: a raise leaves a placeholder": (Rules(raise_leaves_placeholder=True), FLUSHED),
    "5c: installs what was read before the nonce": (Rules(read_after_nonce=False), FLUSHED),
    "5c: installs on any placeholder": (Rules(install_by_nonce=False), TWO_PROCESSES),
    "5c: a placeholder outlives its server": (
        Rules(placeholder_has_identity=False),
        replace(FROM_FILE, faults=2, kinds=frozenset({"flush", "aof"})),
    ),
    "6: acknowledged at once after a fail-over": (Rules(hold_acknowledgements=False), SPLIT),
    "6: compared with a new master at once": (Rules(settle_on_database=False), SPLIT),
    "6: a replaced master goes on": (Rules(fenced_within_l=False), SPLIT),
    "local mode: from the cache": (Rules(local_reads_database=False), BESIDE),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_rule_taken_out_lets_a_call_through(name: str) -> None:
    """Without any single rule some history decides a call against an acknowledged change; with it, none within the bounds does.

    `pytest -rP -n 0` shows each such history, a shortest one.
    """
    rules, bounds = WITHOUT[name]
    bounds = replace(bounds, sort_processes=False)
    broken = searched(rules, bounds)
    print(f"Without {name}\n{broken}")  # noqa: T201 — the trace says why there is the rule
    assert broken.violated
    assert broken.kinds["acknowledge"]
    assert not searched(Rules(), bounds, broken.depth).violated


def test_every_rule_is_taken_out_once() -> None:
    """A rule that is added to the model without a test of its own is noticed; what else there is has tests below."""
    changed = {name for rules, _ in WITHOUT.values() for name in vars(rules) if vars(rules)[name] != vars(Rules())[name]}
    elsewhere = {"sweeper_runs", "mark_what_was_raised", "newer_epoch", "raise_waits_for_replicas"}
    assert changed | elsewhere == set(vars(Rules()))


@pytest.mark.parametrize("newer_epoch", ["install", "placeholder", "stale"])
def test_an_epoch_newer_than_the_stored_one_is_safe_however_it_is_taken(newer_epoch: str) -> None:
    """A key read after a commit, and sent before its raise: none of the ways to answer lets a call through."""
    assert not searched(Rules(newer_epoch=newer_epoch), TWO_CHANGES).violated
    assert not searched(Rules(newer_epoch=newer_epoch), FROM_FILE).violated


@pytest.mark.parametrize(("newer_epoch", "asked"), [("install", 1), ("placeholder", 2), ("stale", None)])
def test_installing_a_newer_epoch_saves_rounds(newer_epoch: str, asked: int | None) -> None:
    """While the raise is on its way, a new epoch that is installed costs one round; else it is two, or no end of them."""
    model = Model(Rules(newer_epoch=newer_epoch), Bounds(timeouts=False))
    state = next(step.after for step in model.steps(model.first()) if step.kind == "commit")
    assert isinstance(state, State)
    unread = state._replace(processes=(state.processes[0]._replace(cache=None),))

    def until_decided(state: State) -> Iterator[Step]:
        for step in model.steps(state):
            if step.kind in {"start", "read", "answer", "ask: nonce", "ask: stale"}:
                yield step
            elif step.kind == "refused":
                yield step._replace(violation="it is decided")

    result = explore(unread, until_decided)
    assert (sum("asking" in line for line in result.trace) or None) == asked


@pytest.mark.parametrize("bounds", [SPLIT, THERE_AND_BACK], ids=["split", "there and back"])
@pytest.mark.parametrize("identity_per_promotion", [True, False])
def test_waiting_for_the_replicas_would_do_too(bounds: Bounds, identity_per_promotion: bool) -> None:
    """A raise that counts once the replica has it needs neither the database after a fail-over nor an identity per promotion."""
    rules = Rules(raise_waits_for_replicas=True, settle_on_database=False, identity_per_promotion=identity_per_promotion)
    assert not searched(rules, bounds, 14).violated


LIVE = {
    "restarts": Bounds(kinds=RESTARTS, changes=2, timeouts=False),
    "fail-over": Bounds(kinds=FAILOVER, changes=2, timeouts=False),
    "local mode": Bounds(kinds=LOCAL, changes=2, faults=2, timeouts=False),
}


@pytest.mark.parametrize("name", LIVE)
def test_nothing_ends_in_a_state_that_admits_no_call(name: str) -> None:
    """From every state that can be reached some path without a further fault leads to an admitted call."""

    def admits(step: Step) -> bool | None:
        return None if step.kind in FAULTS else step.kind == "admitted"

    model = Model(Rules(), LIVE[name])
    assert dead_ends(model.first(), model.steps, good=admits) == []


@pytest.mark.parametrize(
    ("rules", "ends"),
    [(Rules(), False), (Rules(sweeper_runs=False), True), (Rules(mark_what_was_raised=False), True)],
    ids=["whole", "no sweeper", "marks more than it raised"],
)
def test_the_sweeper_finishes_what_a_crash_left(rules: Rules, ends: bool) -> None:
    """Every change that was committed comes to be raised and marked; without the sweeper, a crash leaves one that never does."""
    model = Model(rules, Bounds(kinds=FAILOVER, changes=2, timeouts=False, sweeper=True, calls=False))

    def steps(state: State) -> Iterator[Step]:
        yield from model.steps(state)
        identity, value = state.servers[state.master]
        outdated = value is not None and value.identity == identity and value.kind == EPOCH and value.number < state.epoch
        if state.marked == state.epoch and not outdated:
            yield Step("in force", "", state)

    def comes_into_force(step: Step) -> bool | None:
        """Nobody need make or repeat a change for that, and no message is sent anew by itself."""
        return None if step.kind in FAULTS | {"commit", "repeat", "raise again"} else step.kind == "in force"

    assert bool(dead_ends(model.first(), steps, good=comes_into_force)) == ends
