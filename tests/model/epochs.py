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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from explore import Step


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the protocol demands; the numbers are those of "Epochs" in the protocol. Each can be taken out."""

    # 1: changes
    raise_after_commit: bool = True  # commit, then raise
    acknowledge_after_raise: bool = True  # raise, then answer
    raise_takes_the_highest: bool = True  # max, never set
    unraised_is_not_acknowledged: bool = True  # Redis cannot be reached: 503, not an acknowledgement
    repeat_raises: bool = True  # a repeated change that finds its work done raises again all the same
    sweeper_runs: bool = True
    mark_what_was_raised: bool = True  # not whatever epoch the database has by then
    # 2: reads
    one_statement: bool = True  # policy and epoch are of one snapshot
    primary: bool = True  # that of the primary, not of a replica that lags
    join_unsent_reads_only: bool = True
    # 3, 4: every call is compared, refusals too
    calls_are_compared: bool = True
    refusals_are_compared: bool = True
    # 5: loss
    missing_is_stale: bool = True  # no epoch is stored: nothing passes, and nothing is installed without a nonce
    identity_is_compared: bool = True  # N@R, not N
    identity_is_the_servers: bool = True  # the script knows its server's identity; else a connection's handshake learns it
    identity_per_promotion: bool = True  # a promotion makes a new one; else a server keeps its run ID
    raise_deletes_after_loss: bool = True  # where nothing, or another R is stored, it installs nothing
    raise_deletes_placeholder: bool = True  # it neither leaves the placeholder nor installs over it
    raise_leaves_placeholder: bool = False  # (what else it might do, if it does not delete it)
    read_after_nonce: bool = True  # what is installed was read after the nonce was learnt
    install_by_nonce: bool = True  # compare-and-set on the nonce, not on "some placeholder"
    placeholder_has_identity: bool = True  # a placeholder of another R is none
    newer_epoch: str = "install"  # sent N above the stored one, same R: "install" it, "placeholder", or "stale" and no more
    # 6: replicas
    hold_acknowledgements: bool = True  # for L after a new identity is seen
    settle_on_database: bool = True  # for L after a new identity is seen epochs are compared with the database
    raise_waits_for_replicas: bool = False  # WAIT for the replicas before a raise counts
    fenced_within_l: bool = True  # min-replicas-to-write: within L a replaced master refuses to write, and so to admit
    # Redis cannot be reached
    local_reads_database: bool = True


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How large a history may become. `faults` of the named kinds in all: flush, empty, aof, failover, unreachable."""

    processes: int = 1
    changes: int = 1
    faults: int = 1
    kinds: frozenset[str] = frozenset()
    starts_enabled: bool = True
    timeouts: bool = True  # admissions time out, and may be decided later
    sweeper: bool = False  # the sweeper's own steps (its raises come in any case)

    def enabled(self, epoch: int) -> bool:
        """Whether the key is alive under the policy of `epoch`; each change turns it over."""
        return (epoch % 2 == 0) == self.starts_enabled

    @property
    def copies(self) -> bool:
        return "aof" in self.kinds or "failover" in self.kinds


T = TypeVar("T")
EPOCH, PLACEHOLDER = "epoch", "placeholder"
OPEN, EARLY, COMMITTED, RAISED, BROKEN, ACKNOWLEDGED = "open", "raised early", "committed", "raised", "broken off", "acknowledged"
DEAD = -1  # a nonce that no server holds any more


class Value(NamedTuple):
    """`number`@`identity`: an epoch, or a placeholder's nonce."""

    kind: str
    number: int
    identity: int


class Server(NamedTuple):
    """A Redis server. The one that is not the master is its copy: a replica that lags, or the disk."""

    identity: int
    value: Value | None


class Change(NamedTuple):
    """The change to epoch n, where n is its place in `State.changes` counted from 1."""

    phase: str = OPEN
    by: int = 0


class Call(NamedTuple):
    """A call that is not decided yet; `floor` is the highest epoch that was acknowledged when it started."""

    floor: int
    fresh: bool  # what is cached may be asked with; else it must be read first
    nonce: int  # learnt with the last answer, 0 if none; what is read after that may be installed on it


class Read(NamedTuple):
    """A read that the database has answered, on its way back. `own` if the call that sent it still waits."""

    policy: int
    epoch: int
    own: bool


class Late(NamedTuple):
    """An admission that nobody waits for any more, still on its way to a server."""

    server: int
    learnt: int
    epoch: int
    nonce: int


class Process(NamedTuple):
    """A gateway process. `learnt` is the identity that it knows its server by; `cache` the policy and the epoch it came with."""

    server: int = 0
    learnt: int = 0
    local: bool = False
    cache: tuple[int, int] | None = (0, 0)
    call: Call | None = None
    read: Read | None = None


class State(NamedTuple):
    """Everything. `split`: a fail-over was made, and the replaced master still serves those who have not left it."""

    epoch: int
    marked: int
    sweep: int
    changes: tuple[Change, ...]
    servers: tuple[Server, Server]
    master: int
    split: bool
    processes: tuple[Process, ...]
    late: Late | None
    faults: int
    identities: int

    @property
    def acknowledged(self) -> int:
        """The highest acknowledged epoch."""
        return max((n for n, change in enumerate(self.changes, 1) if change.phase == ACKNOWLEDGED), default=0)


KINDS = frozenset(
    "commit|raise|crash|repeat|acknowledge|raise again|sweep|mark|start|read|answer|leftover answer|ask: stale|ask: nonce|time out|"
    "late ask|give up|admitted|refused|lapse|copy|flush|empty|aof|failover|fence|reconnect|unreachable|reachable".split("|")
)
FAULTS = frozenset({"flush", "empty", "aof", "failover", "unreachable", "crash", "time out"})


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

    # -- the two scripts

    def _raised(self, value: Value | None, epoch: int, identity: int) -> Value | None:
        """What a raise makes of what is stored."""
        rules = self.rules
        raised = Value(EPOCH, epoch, identity)
        if value is not None and value.kind == PLACEHOLDER:
            if rules.raise_deletes_placeholder:
                return None
            return value if rules.raise_leaves_placeholder else raised
        if value is None or (value.identity != identity and rules.identity_is_compared):
            return None if rules.raise_deletes_after_loss else raised
        return raised if value.number < epoch or not rules.raise_takes_the_highest else value

    def _admission(self, state: State, value: Value | None, sent: Value, nonce: int) -> tuple[Value | None, bool, int]:
        """What an admission that sends `sent` makes of what is stored; whether it is decided, and else the nonce to read for."""
        rules = self.rules
        stored, identity = value, sent.identity

        def current(found: Value | None, kind: str) -> bool:
            checked = rules.identity_is_compared if kind == EPOCH else rules.placeholder_has_identity
            return found is not None and found.kind == kind and (found.identity == identity or not checked)

        if nonce and stored is not None and current(stored, PLACEHOLDER) and (stored.number == nonce or not rules.install_by_nonce):
            stored = sent
        if current(stored, EPOCH) and stored is not None:
            if stored.number == sent.number:
                return stored, True, 0
            if stored.number > sent.number or rules.newer_epoch == "stale":
                return stored, False, 0
            if rules.newer_epoch == "install":
                return sent, True, 0
        elif stored is None and not rules.missing_is_stale:
            return sent, True, 0
        elif current(stored, PLACEHOLDER) and stored is not None:
            return stored, False, stored.number
        fresh = self._fresh_nonce(state)
        return Value(PLACEHOLDER, fresh, identity), False, fresh

    @staticmethod
    def _fresh_nonce(state: State) -> int:
        used = {server.value.number for server in state.servers if server.value and server.value.kind == PLACEHOLDER}
        used |= {process.call.nonce for process in state.processes if process.call}
        used |= {state.late.nonce} if state.late else set()
        return min(set(range(1, len(used) + 2)) - used)

    # -- changes

    def _changes(self, state: State) -> Iterator[Step]:
        rules = self.rules
        for n, change in enumerate(state.changes, 1):
            who = f"process {change.by}"
            if change.phase == OPEN and state.epoch == n - 1:
                for by in self._actors(state):
                    if rules.raise_after_commit:
                        after = _change(state._replace(epoch=n), n, Change(COMMITTED, by))
                        yield self._step("commit", f"process {by} commits the change to epoch {n} ({self._alive(n)})", after)
                    else:
                        yield from self._raise(state, n, Change(EARLY, by))
            elif change.phase == EARLY:
                after = _change(state._replace(epoch=n), n, Change(RAISED, change.by))
                yield self._step("commit", f"{who} commits the change to epoch {n} ({self._alive(n)})", after)
            elif change.phase == COMMITTED:
                yield from self._raise(state, n, Change(RAISED, change.by))
                reached = self._reaches(state, state.processes[change.by])
                if not rules.acknowledge_after_raise or (not rules.unraised_is_not_acknowledged and not reached):
                    yield self._acknowledge(state, n, who)
            elif change.phase == RAISED:
                process = state.processes[change.by]
                if not (rules.hold_acknowledgements and self._held(state, process)):
                    yield self._acknowledge(state, n, who)
            elif change.phase == BROKEN:
                for by in self._actors(state):
                    if rules.repeat_raises:
                        after = _change(state, n, Change(COMMITTED, by))
                        yield self._step("repeat", f"the change to epoch {n} is repeated at process {by}", after)
                    else:
                        yield self._acknowledge(state, n, f"process {by}, asked again, finds the work done, and")
            if change.phase in {COMMITTED, RAISED}:
                after = _change(state, n, Change(BROKEN, 0))
                yield self._step("crash", f"the change to epoch {n} is broken off: a crash of {who}, or 503", after)
        if self.bounds.sweeper:
            yield from self._sweeper(state)

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
            after = _server(after, 1 - after.master, after.servers[after.master].value)
        text = f"the raise to {n} by process {change.by} reaches server {process.server}"
        yield self._step("raise", text, _change(after, n, change))

    def _raise_at(self, state: State, server: int, n: int) -> State:
        redis = state.servers[server]
        return _server(state, server, self._raised(redis.value, n, redis.identity))

    def _acknowledge(self, state: State, n: int, who: str) -> Step:
        after = _change(state, n, Change(ACKNOWLEDGED, 0))._replace(marked=max(state.marked, n) if self.bounds.sweeper else 0)
        return self._step("acknowledge", f"{who} acknowledges the change to epoch {n}", after)

    def _sweeper(self, state: State) -> Iterator[Step]:
        if self.rules.sweeper_runs and not state.sweep and state.marked != state.epoch and self._reaches(state, state.processes[0]):
            after = self._raise_at(state, state.processes[0].server, state.epoch)
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
                yield self._step("lapse", f"the placeholder on server {number} lapses", _server(state, number, None))
            for n in range(1, state.epoch + 1):
                after = self._raise_at(state, number, n)
                if after != state:
                    yield self._step("raise again", f"a raise to {n}, delayed, repeated or swept, reaches server {number}", after)
        copied = state.servers[state.master].value
        if self.bounds.copies and not state.split and state.servers[1 - state.master].value != copied:
            yield self._step("copy", "the copy catches up", _server(state, 1 - state.master, copied))
        if state.split:
            old = 1 - state.master
            late = None if state.late and state.late.server == old else state.late
            after = _server(state, old, copied)._replace(split=False, late=late)
            yield self._step("fence", f"L is over: server {old} refuses writes, then follows server {state.master}", after)
        if state.late is not None:
            late_ask = state.late
            redis = state.servers[late_ask.server]
            identity = redis.identity if self.rules.identity_is_the_servers else late_ask.learnt
            sent = Value(EPOCH, late_ask.epoch, identity)
            value, _, _ = self._admission(state, redis.value, sent, late_ask.nonce)
            after = _server(state._replace(late=None), late_ask.server, value)
            yield self._step("late ask", f"an admission with epoch {sent.number}, timed out long since, is executed", after)

    def _faults(self, state: State) -> Iterator[Step]:
        if not state.faults:
            return
        left = state._replace(faults=state.faults - 1)
        master, kinds = state.master, self.bounds.kinds
        if "flush" in kinds:
            yield self._step("flush", "FLUSHALL: the data is gone, the server is the same", _server(left, master, None))
        if "empty" in kinds:
            after = _restart(_server(left, 1 - master, None), None)
            yield self._step("empty", "Redis restarts empty", after)
        if "aof" in kinds:
            yield self._step("aof", "Redis restarts from its file", _restart(left, state.servers[1 - master].value))
        if "failover" in kinds and not state.split:
            after = left._replace(master=1 - master, split=True)
            if self.rules.identity_per_promotion:
                promoted = state.servers[1 - master]._replace(identity=state.identities)
                after = after._replace(servers=_put(state.servers, 1 - master, promoted), identities=state.identities + 1)
            yield self._step("failover", f"fail-over: server {1 - master} is promoted, server {master} still serves", after)
        if "unreachable" in kinds:
            for number, process in enumerate(state.processes):
                if not process.local:
                    after = _process(left, number, process._replace(local=True))
                    yield self._step("unreachable", f"process {number} cannot reach Redis: local mode", after)

    # -- a gateway process

    def _process(self, state: State, number: int) -> Iterator[Step]:
        process = state.processes[number]
        name = f"process {number}"
        if process.local:
            after = _process(state, number, process._replace(local=False))
            yield self._step("reachable", f"{name} reaches Redis again", after)
        else:
            identity = state.servers[state.master].identity
            knows = process.learnt == identity or not self.rules.identity_is_the_servers
            if process.server != state.master or not knows:
                after = _process(state, number, process._replace(server=state.master, learnt=identity))
                yield self._step("reconnect", f"{name} connects to server {state.master}, or learns what it is now", after)
        yield from self._call(state, number, process, name)
        if process.read is not None:
            yield from self._answer(state, number, process, name)

    def _call(self, state: State, number: int, process: Process, name: str) -> Iterator[Step]:
        rules, call, cache = self.rules, process.call, process.cache
        local = self._asks_database(state, process)
        if call is None:
            started = Call(state.acknowledged, cache is not None, 0)
            after = _process(state, number, process._replace(call=started))
            yield self._step("start", f"a call starts at {name}, after {started.floor} was acknowledged", after)
            return
        read = process.read and process.read._replace(own=False)
        after = _process(state, number, process._replace(call=None, read=read))
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
                yield self._step("read", f"{name} reads the key: epoch {snapshot}", _process(state, number, sent))

    def _answer(self, state: State, number: int, process: Process, name: str) -> Iterator[Step]:
        """A read comes back: into the cache, and to the call that waits for it."""
        read, call = process.read, process.call
        assert read is not None
        epoch = read.epoch if self.rules.one_statement else state.epoch
        after = process._replace(cache=(read.policy, epoch), read=None)
        text = f"{name} has the answer of its read: the policy of {read.policy}, epoch {epoch}"
        if call is None or not (read.own or not self.rules.join_unsent_reads_only):
            yield self._step("leftover answer", text, _process(state, number, after))
        elif self._asks_database(state, process):
            yield self._decide(_process(state, number, after), number, read.policy, f"{name}, from the database")
        else:
            fresh = after._replace(call=call._replace(fresh=True))
            yield self._step("answer", text, _process(state, number, fresh))

    def _ask(self, state: State, number: int, process: Process, name: str) -> Step:
        """The admission script, and its answer."""
        assert process.cache is not None
        assert process.call is not None
        redis = state.servers[process.server]
        identity = redis.identity if self.rules.identity_is_the_servers else process.learnt
        sent = Value(EPOCH, process.cache[1], identity)
        value, decided, nonce = self._admission(state, redis.value, sent, process.call.nonce)
        after = _server(state, process.server, value)
        where = f"{name}, asking server {process.server} with {sent.number}@{identity}"
        if decided:
            return self._decide(after, number, process.cache[0], where)
        call = process.call._replace(fresh=bool(nonce) and not self.rules.read_after_nonce, nonce=nonce)
        after = _process(after, number, process._replace(call=call))
        kind = "ask: nonce" if nonce else "ask: stale"
        return self._step(kind, f"{where}: stale" + (f", nonce {nonce}" if nonce else ""), after)

    def _decide(self, state: State, number: int, policy: int, how: str) -> Step:
        process = state.processes[number]
        assert process.call is not None
        verdict = "admitted" if self.bounds.enabled(policy) else "refused"
        read = process.read and process.read._replace(own=False)
        after = _process(state, number, process._replace(call=None, read=read))
        wrong = f"{verdict} by the policy of {policy}, though {process.call.floor} was acknowledged before the call started"
        step = self._step(verdict, f"the call is {verdict} by the policy of {policy} ({how})", after)
        return step._replace(violation=wrong) if policy < process.call.floor else step

    def _alive(self, epoch: int) -> str:
        return "the key is enabled" if self.bounds.enabled(epoch) else "the key is disabled"

    # -- one state for all that differ in names alone

    def _step(self, kind: str, text: str, after: State) -> Step:
        return Step(kind, text, self._canonical(after))

    def _canonical(self, state: State) -> State:
        """Nonces are numbered by where they are stored; those stored nowhere are forgotten; processes that are alike are sorted."""
        live = [server.value.number for server in state.servers if server.value and server.value.kind == PLACEHOLDER]
        names = {nonce: place for place, nonce in enumerate(dict.fromkeys(live), 1)}
        lost = 0 if self.rules.install_by_nonce else DEAD
        if names and any(nonce != name for nonce, name in names.items()):
            servers = tuple(
                server._replace(value=server.value._replace(number=names[server.value.number]))
                if server.value and server.value.kind == PLACEHOLDER
                else server
                for server in state.servers
            )
            state = state._replace(servers=(servers[0], servers[1]))
        for number, process in enumerate(state.processes):
            if process.call and process.call.nonce and names.get(process.call.nonce, lost) != process.call.nonce:
                nonce = names.get(process.call.nonce, lost)
                state = _process(state, number, process._replace(call=process.call._replace(nonce=nonce)))
        if state.late and state.late.nonce:
            state = state._replace(late=state.late._replace(nonce=names.get(state.late.nonce, lost)))
        if len(state.processes) == 2 and _order(state.processes[0]) > _order(state.processes[1]):
            changes = tuple(
                change._replace(by=1 - change.by) if change.phase in _OWNED and len(self._actors(state)) == 2 else change
                for change in state.changes
            )
            state = state._replace(processes=state.processes[::-1], changes=changes)
        return state


_OWNED = frozenset({EARLY, COMMITTED, RAISED})


def _order(process: Process) -> tuple[object, ...]:
    return (*process[:3], process.cache or (), process.call or (), process.read or ())


def _put(servers: tuple[Server, Server], number: int, server: Server) -> tuple[Server, Server]:
    return (server, servers[1]) if number == 0 else (servers[0], server)


def _server(state: State, number: int, value: Value | None) -> State:
    if state.servers[number].value == value:
        return state
    return state._replace(servers=_put(state.servers, number, state.servers[number]._replace(value=value)))


def _restart(state: State, value: Value | None) -> State:
    """The master is a new server with `value`; whatever was on its way to it is gone, and everybody connects again."""
    servers = _put(state.servers, state.master, Server(state.identities, value))
    processes = tuple(
        process._replace(learnt=state.identities) if process.server == state.master else process for process in state.processes
    )
    late = None if state.late and state.late.server == state.master else state.late
    return state._replace(servers=servers, processes=processes, late=late, identities=state.identities + 1)


def _process(state: State, number: int, process: Process) -> State:
    return state._replace(processes=_replaced(state.processes, number, process))


def _change(state: State, n: int, change: Change) -> State:
    return state._replace(changes=_replaced(state.changes, n - 1, change))


def _replaced(items: Iterable[T], place: int, item: T) -> tuple[T, ...]:
    return tuple(item if number == place else old for number, old in enumerate(items))
