"""The state of the model of the policy epochs: plain tuples, and how to change a part of them."""

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

T = TypeVar("T")
EPOCH, PLACEHOLDER = "epoch", "placeholder"
OPEN, EARLY, COMMITTED, RAISED, BROKEN, ACKNOWLEDGED = "open", "raised early", "committed", "raised", "broken off", "acknowledged"
MAKING = frozenset({EARLY, COMMITTED, RAISED})  # the phases in which it matters who makes the change
FAULTS = frozenset({"flush", "empty", "aof", "failover", "unreachable", "crash", "time out"})
KINDS = FAULTS | {
    "commit",
    "raise",
    "repeat",
    "acknowledge",
    "raise again",
    "sweep",
    "mark",
    "start",
    "read",
    "answer",
    "leftover answer",
    "ask: stale",
    "ask: nonce",
    "late ask",
    "give up",
    "admitted",
    "refused",
    "lapse",
    "copy",
    "fence",
    "reconnect",
    "reachable",
}
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

    def server_with(self, number: int, value: Value | None) -> "State":
        """With another value stored on a server."""
        if self.servers[number].value == value:
            return self
        return self._replace(servers=put(self.servers, number, self.servers[number]._replace(value=value)))

    def process_with(self, number: int, process: Process) -> "State":
        return self._replace(processes=_replaced(self.processes, number, process))

    def change_with(self, n: int, change: Change) -> "State":
        return self._replace(changes=_replaced(self.changes, n - 1, change))

    def restarted(self, value: Value | None) -> "State":
        """The master is a new server with `value`; whatever was on its way to it is gone, and everybody connects again."""
        new = self.identities
        processes = tuple(each._replace(learnt=new) if each.server == self.master else each for each in self.processes)
        late = None if self.late and self.late.server == self.master else self.late
        servers = put(self.servers, self.master, Server(new, value))
        return self._replace(servers=servers, processes=processes, late=late, identities=new + 1)

    def fresh_nonce(self) -> int:
        """A nonce that nobody knows and no server holds."""
        used = {server.value.number for server in self.servers if server.value and server.value.kind == PLACEHOLDER}
        used |= {process.call.nonce for process in self.processes if process.call}
        used |= {self.late.nonce} if self.late else set()
        return min(set(range(1, len(used) + 2)) - used)

    def named(self, lost: int) -> "State":
        """The same with nonces numbered by where they are stored; one that is stored nowhere becomes `lost`."""
        live = [server.value.number for server in self.servers if server.value and server.value.kind == PLACEHOLDER]
        names = {nonce: place for place, nonce in enumerate(dict.fromkeys(live), 1)}
        state = self
        for number, server in enumerate(self.servers):
            if server.value and server.value.kind == PLACEHOLDER:
                state = state.server_with(number, server.value._replace(number=names[server.value.number]))
        for number, process in enumerate(self.processes):
            if process.call and process.call.nonce and names.get(process.call.nonce, lost) != process.call.nonce:
                call = process.call._replace(nonce=names.get(process.call.nonce, lost))
                state = state.process_with(number, process._replace(call=call))
        if state.late and state.late.nonce:
            state = state._replace(late=state.late._replace(nonce=names.get(state.late.nonce, lost)))
        return state

    def sorted(self) -> "State":
        """The same with its two processes in a fixed order, and with them the changes that they are making."""
        if len(self.processes) < 2 or _order(self.processes[0]) <= _order(self.processes[1]):
            return self
        changes = tuple(change._replace(by=1 - change.by) if change.phase in MAKING else change for change in self.changes)
        return self._replace(processes=self.processes[::-1], changes=changes)


def _order(process: Process) -> tuple[object, ...]:
    return (*process[:3], process.cache or (), process.call or (), process.read or ())


def put(servers: tuple[Server, Server], number: int, server: Server) -> tuple[Server, Server]:
    """The pair with one of them replaced."""
    return (server, servers[1]) if number == 0 else (servers[0], server)


def _replaced(items: Iterable[T], place: int, item: T) -> tuple[T, ...]:
    return tuple(item if number == place else old for number, old in enumerate(items))
