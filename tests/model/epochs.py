"""A model of the policy epochs of one account: every rule that `Rules` names, and the faults that they have to survive.

One key, alive or disabled in turn with each change; the database, the value in Redis with one copy of it that lags (a replica, or
the append-only file on the disk), one or two gateway processes with a key cache each, changes on their way, and calls.
The steps are as small as what can come between them: a message that waits longer than a step is that step taken later.

What is checked: **no call is decided by a policy older than a change that was acknowledged before the call started.** So no
deleted key is admitted, and no enabled key refused, against an acknowledged change.

What is more permissive here than in the real thing, so that what holds here holds there: any raise that was ever sent may arrive
again at any moment at any server that serves (delayed, repeated, and the sweeper's); a placeholder may lapse at once; the copy
may lag without end; rounds are not counted; and L, the time after which a master without its replicas refuses to
write, is over at any moment, for all at once.

What is left out: a process has one call at a time, and one read (an answer that its caller no longer waits for still arrives, and
a later call's own read waits for that); one admission that timed out may be on its way; the database does not fail.
"""

from collections.abc import Iterator

from tests.model.explore import Step
from tests.model.rules import Bounds, Rules
from tests.model.scripts import admission, raise_epoch
from tests.model.state import (
    ACKNOWLEDGED,
    BROKEN,
    COMMITTED,
    DEAD,
    EARLY,
    EPOCH,
    OPEN,
    PLACEHOLDER,
    RAISED,
    Call,
    Change,
    Late,
    Process,
    Read,
    Server,
    State,
    Value,
    put,
)


class Model:
    """The steps from a state, under some rules and within some bounds."""

    def __init__(self, rules: Rules, bounds: Bounds) -> None:
        self.rules = rules
        self.bounds = bounds

    def first(self) -> State:
        """Nothing has happened: every process has read the key at epoch 0, which is stored, and copied."""
        stored = Server(0, Value(EPOCH, 0, 0))
        return State(
            epoch=0,
            marked=0,
            sweep=0,
            changes=(Change(),) * self.bounds.changes,
            servers=(stored, Server(1, stored.value if self.bounds.copies else None)),
            master=0,
            split=False,
            processes=(Process(),) * self.bounds.processes,
            late=None,
            faults=self.bounds.faults,
            identities=2,
        )

    def steps(self, state: State) -> Iterator[Step]:
        """Every step from a state; states that differ in names alone are one."""
        yield from self._changes(state)
        yield from self._redis(state)
        yield from self._faults(state)
        for number in range(len(state.processes)):
            yield from self._process(state, number)

    # -- who can talk to whom

    def _serves(self, state: State, server: int) -> bool:
        return server == state.master or state.split

    def _reaches(self, state: State, process: Process) -> bool:
        """Whether what a process sends is executed. Under its own identity only a server that knows it can insist on that."""
        known = not self.rules.identity_is_the_servers or process.learnt == state.servers[process.server].identity
        return not process.local and known and self._serves(state, process.server)

    def _held(self, state: State, process: Process) -> bool:
        """Whether L is not over yet since this process saw the new master's identity; the old master is fenced before it is."""
        return self.rules.fenced_within_l and state.split and process.server == state.master

    def _asks_database(self, state: State, process: Process) -> bool:
        return process.local or (self.rules.settle_on_database and self._held(state, process))

    # -- changes

    def _changes(self, state: State) -> Iterator[Step]:
        for n, change in enumerate(state.changes, 1):
            if change.phase == OPEN and state.epoch == n - 1:
                for by in self._actors(state):
                    if self.rules.raise_after_commit:
                        yield self._commit(state, n, Change(COMMITTED, by))
                    else:
                        yield from self._raise(state, n, Change(EARLY, by))
            elif change.phase == EARLY:
                yield self._commit(state, n, Change(RAISED, change.by))
            elif change.phase in {COMMITTED, RAISED}:
                yield from self._finish(state, n, change)
                after = state.change_with(n, Change(BROKEN, 0))
                yield self._step("crash", f"the change to epoch {n} is broken off: a crash of process {change.by}, or 503", after)
            elif change.phase == BROKEN:
                yield from self._repeat(state, n)
        if self.bounds.sweeper:
            yield from self._sweeper(state)

    def _commit(self, state: State, n: int, change: Change) -> Step:
        means = "the key is enabled" if self.bounds.enabled(n) else "the key is disabled"
        text = f"process {change.by} commits the change to epoch {n} ({means})"
        return self._step("commit", text, state._replace(epoch=n).change_with(n, change))

    def _finish(self, state: State, n: int, change: Change) -> Iterator[Step]:
        rules, process = self.rules, state.processes[change.by]
        if change.phase == RAISED:
            allowed = not (rules.hold_acknowledgements and self._held(state, process))
        else:
            yield from self._raise(state, n, Change(RAISED, change.by))
            away = not self._reaches(state, process)
            allowed = not rules.acknowledge_after_raise or (away and not rules.unraised_is_not_acknowledged)
        if allowed:
            yield self._acknowledge(state, n, f"process {change.by}")

    def _repeat(self, state: State, n: int) -> Iterator[Step]:
        for by in self._actors(state):
            if self.rules.repeat_raises:
                after = state.change_with(n, Change(COMMITTED, by))
                yield self._step("repeat", f"the change to epoch {n} is repeated at process {by}", after)
            else:
                yield self._acknowledge(state, n, f"process {by}, asked again, finds the work done, and")

    def _actors(self, state: State) -> range:
        """Who makes changes matters only if the processes do not all see the same Redis."""
        return range(len(state.processes) if self.bounds.kinds & {"failover", "unreachable"} else 1)

    def _raise(self, state: State, n: int, change: Change) -> Iterator[Step]:
        process = state.processes[change.by]
        if not self._reaches(state, process):
            return
        replicated = process.server == state.master
        if self.rules.raise_waits_for_replicas and not replicated:
            return  # a replica that has left its master does not answer WAIT
        after = self._raise_at(state, process.server, n)
        if self.rules.raise_waits_for_replicas and not state.split and self.bounds.copies:
            after = after.server_with(1 - after.master, after.servers[after.master].value)
        text = f"the raise to {n} by process {change.by} reaches server {process.server}"
        yield self._step("raise", text, after.change_with(n, change))

    def _raise_at(self, state: State, server: int, n: int) -> State:
        redis = state.servers[server]
        return state.server_with(server, raise_epoch(self.rules, redis.value, n, redis.identity))

    def _acknowledge(self, state: State, n: int, who: str) -> Step:
        after = state.change_with(n, Change(ACKNOWLEDGED, 0))._replace(marked=max(state.marked, n) if self.bounds.sweeper else 0)
        return self._step("acknowledge", f"{who} acknowledges the change to epoch {n}", after)

    def _sweeper(self, state: State) -> Iterator[Step]:
        process = state.processes[0]
        due = self.rules.sweeper_runs and not state.sweep and state.marked != state.epoch
        if due and self._reaches(state, process):
            after = self._raise_at(state, process.server, state.epoch)
            yield self._step("sweep", f"the sweeper raises to {state.epoch}", after._replace(sweep=state.epoch))
        if state.sweep:
            marked = state.sweep if self.rules.mark_what_was_raised else state.epoch
            after = state._replace(marked=max(marked, state.marked), sweep=0)
            yield self._step("mark", f"the sweeper marks {marked} as raised", after)

    # -- Redis by itself

    def _redis(self, state: State) -> Iterator[Step]:
        for number, server in enumerate(state.servers):
            if not self._serves(state, number):
                continue
            if server.value is not None and server.value.kind == PLACEHOLDER:
                yield self._step("lapse", f"the placeholder on server {number} lapses", state.server_with(number, None))
            for n in range(1, state.epoch + 1):
                after = self._raise_at(state, number, n)
                if after != state:
                    yield self._step("raise again", f"a raise to {n}, delayed, repeated or swept, reaches server {number}", after)
        copied = state.servers[state.master].value
        if self.bounds.copies and not state.split and state.servers[1 - state.master].value != copied:
            yield self._step("copy", "the copy catches up", state.server_with(1 - state.master, copied))
        if state.split:
            old = 1 - state.master
            late = None if state.late and state.late.server == old else state.late
            after = state.server_with(old, copied)._replace(split=False, late=late)
            yield self._step("fence", f"L is over: server {old} refuses writes, then follows server {state.master}", after)
        if state.late is not None:
            late_ask = state.late
            redis = state.servers[late_ask.server]
            identity = redis.identity if self.rules.identity_is_the_servers else late_ask.learnt
            sent = Value(EPOCH, late_ask.epoch, identity)
            answer = admission(self.rules, redis.value, sent, late_ask.nonce, state.fresh_nonce())
            after = state._replace(late=None).server_with(late_ask.server, answer.value)
            yield self._step("late ask", f"an admission with epoch {sent.number}, timed out long since, is executed", after)

    def _faults(self, state: State) -> Iterator[Step]:
        if not state.faults:
            return
        left = state._replace(faults=state.faults - 1)
        master, kinds = state.master, self.bounds.kinds
        if "flush" in kinds:
            yield self._step("flush", "FLUSHALL: the data is gone, the server is the same", left.server_with(master, None))
        if "empty" in kinds:
            after = left.server_with(1 - master, None).restarted(None)
            yield self._step("empty", "Redis restarts empty", after)
        if "aof" in kinds:
            yield self._step("aof", "Redis restarts from its file", left.restarted(state.servers[1 - master].value))
        if "failover" in kinds and not state.split:
            after = left._replace(master=1 - master, split=True)
            if self.rules.identity_per_promotion:
                promoted = state.servers[1 - master]._replace(identity=state.identities)
                after = after._replace(servers=put(state.servers, 1 - master, promoted), identities=state.identities + 1)
            yield self._step("failover", f"fail-over: server {1 - master} is promoted, server {master} still serves", after)
        if "unreachable" in kinds:
            for number, process in enumerate(state.processes):
                if not process.local:
                    after = left.process_with(number, process._replace(local=True))
                    yield self._step("unreachable", f"process {number} cannot reach Redis: local mode", after)

    # -- a gateway process

    def _process(self, state: State, number: int) -> Iterator[Step]:
        process = state.processes[number]
        name = f"process {number}"
        if process.local:
            after = state.process_with(number, process._replace(local=False))
            yield self._step("reachable", f"{name} reaches Redis again", after)
        else:
            identity = state.servers[state.master].identity
            knows = process.learnt == identity or not self.rules.identity_is_the_servers
            if process.server != state.master or not knows:
                after = state.process_with(number, process._replace(server=state.master, learnt=identity))
                yield self._step("reconnect", f"{name} connects to server {state.master}, or learns what it is now", after)
        yield from self._call(state, number, process, name)
        if process.read is not None:
            yield from self._answer(state, number, process, name)

    def _call(self, state: State, number: int, process: Process, name: str) -> Iterator[Step]:
        rules, call, cache = self.rules, process.call, process.cache
        local = self._asks_database(state, process)
        if call is None and not self.bounds.calls:
            return
        if call is None:
            started = Call(state.acknowledged, cache is not None, 0)
            after = state.process_with(number, process._replace(call=started))
            yield self._step("start", f"a call starts at {name}, after {started.floor} was acknowledged", after)
            return
        read = process.read and process.read._replace(own=False)
        after = state.process_with(number, process._replace(call=None, read=read))
        yield self._step("give up", f"the call at {name} is given up", after)
        if cache is not None and call.fresh:
            compared = rules.calls_are_compared and (rules.refusals_are_compared or self.bounds.enabled(cache[0]))
            if not compared or (local and not rules.local_reads_database):
                yield self._decide(state, number, cache[0], f"{name}, from its cache")
            if self.bounds.timeouts and state.late is None and not local and self._reaches(state, process):
                late = Late(process.server, process.learnt, cache[1], call.nonce)
                yield self._step("time out", f"{name} sends epoch {cache[1]}, and gives up waiting", after._replace(late=late))
            if not local and self._reaches(state, process):
                yield self._ask(state, number, process, name)
        if process.read is None and (local or not call.fresh):
            for snapshot in range(0 if not rules.primary else state.epoch, state.epoch + 1):
                sent = process._replace(call=call._replace(fresh=False), read=Read(snapshot, snapshot, own=True))
                yield self._step("read", f"{name} reads the key: epoch {snapshot}", state.process_with(number, sent))

    def _answer(self, state: State, number: int, process: Process, name: str) -> Iterator[Step]:
        """A read comes back: into the cache, and to the call that waits for it."""
        read, call = process.read, process.call
        assert read is not None
        epoch = read.epoch if self.rules.one_statement else state.epoch
        after = process._replace(cache=(read.policy, epoch), read=None)
        text = f"{name} has the answer of its read: the policy of {read.policy}, epoch {epoch}"
        if call is None or not (read.own or not self.rules.join_unsent_reads_only):
            yield self._step("leftover answer", text, state.process_with(number, after))
        elif self._asks_database(state, process):
            yield self._decide(state.process_with(number, after), number, read.policy, f"{name}, from the database")
        else:
            fresh = after._replace(call=call._replace(fresh=True))
            yield self._step("answer", text, state.process_with(number, fresh))

    def _ask(self, state: State, number: int, process: Process, name: str) -> Step:
        """The admission script, and its answer."""
        assert process.cache is not None
        assert process.call is not None
        redis = state.servers[process.server]
        identity = redis.identity if self.rules.identity_is_the_servers else process.learnt
        sent = Value(EPOCH, process.cache[1], identity)
        answer = admission(self.rules, redis.value, sent, process.call.nonce, state.fresh_nonce())
        after = state.server_with(process.server, answer.value)
        where = f"{name}, asking server {process.server} with {sent.number}@{identity}"
        if answer.holds:
            return self._decide(after, number, process.cache[0], where)
        call = process.call._replace(fresh=bool(answer.nonce) and not self.rules.read_after_nonce, nonce=answer.nonce)
        after = after.process_with(number, process._replace(call=call))
        kind = "ask: nonce" if answer.nonce else "ask: stale"
        return self._step(kind, f"{where}: stale" + (f", nonce {answer.nonce}" if answer.nonce else ""), after)

    def _decide(self, state: State, number: int, policy: int, how: str) -> Step:
        process = state.processes[number]
        assert process.call is not None
        verdict = "admitted" if self.bounds.enabled(policy) else "refused"
        read = process.read and process.read._replace(own=False)
        after = state.process_with(number, process._replace(call=None, read=read))
        wrong = f"{verdict} by the policy of {policy}, though {process.call.floor} was acknowledged before the call started"
        step = self._step(verdict, f"the call is {verdict} by the policy of {policy} ({how})", after)
        return step._replace(violation=wrong) if policy < process.call.floor else step

    def _step(self, kind: str, text: str, after: State) -> Step:
        after = after.named(lost=0 if self.rules.install_by_nonce else DEAD)
        return Step(kind, text, after.sorted() if self.bounds.sort_processes else after)
