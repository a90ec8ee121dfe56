"""A small model checker: breadth-first over every interleaving, with a visited set, so that the trace it shows is a shortest one.

A model is a function `steps(state)` that yields each `Step` possible in a hashable state. A step that breaks the property says
how in `violation`. The search is exact: states are compared, not hashed to fewer bits.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar


class Step(NamedTuple):
    """One atomic transition. `kind` is one of a closed list of names; `text` is how it reads in a trace."""

    kind: str
    text: str
    after: "Hashed"
    violation: str = ""


class Hashed(Protocol):
    """What a state has to be."""

    def __hash__(self) -> int: ...


S = TypeVar("S", bound=Hashed)


@dataclass
class Result(Generic[S]):
    """What a search has seen. `depth` counts steps; `complete` says that no reachable state was left out."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    complete: bool = True
    kinds: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)

    @property
    def violated(self) -> bool:
        return bool(self.trace)

    def __str__(self) -> str:
        bound = "all that can be reached" if self.complete else "all up to that depth"
        figures = f"{self.states} states, {self.transitions} transitions, depth {self.depth}, {bound}"
        return "\n".join([figures, *(f"{number:3}. {line}" for number, line in enumerate(self.trace, 1))])


def explore(first: S, steps: Callable[[S], Iterator[Step]], *, depth: int | None = None) -> Result[S]:
    """Visit every state within `depth` steps of `first` (all, if None), or stop at the first violation, with its trace."""
    parents: dict[Hashed, tuple[Hashed, str] | None] = {first: None}
    result: Result[S] = Result()
    frontier: list[S] = [first]
    while frontier:
        if result.depth == depth:
            result.complete = False
            break
        following: list[S] = []
        for state in frontier:
            for kind, text, after, violation in steps(state):
                result.transitions += 1
                result.kinds[kind] += 1
                if violation:
                    result.trace = [*_trace(parents, state), text, f"VIOLATION: {violation}"]
                    result.states = len(parents)
                    result.depth += 1
                    result.complete = False
                    return result
                if after not in parents:
                    parents[after] = (state, text)
                    following.append(after)  # type: ignore[arg-type]
        if following:
            result.depth += 1
        frontier = following
    result.states = len(parents)
    return result


def _trace(parents: dict[Hashed, tuple[Hashed, str] | None], state: Hashed) -> list[str]:
    lines: list[str] = []
    while (parent := parents[state]) is not None:
        state, text = parent
        lines.append(text)
    return lines[::-1]


def dead_ends(first: S, steps: Callable[[S], Iterator[Step]], *, good: Callable[[Step], bool | None]) -> list[str]:
    """The shortest trace to a state from which no path leads to a good step; empty if there is no such state.

    `good` says of each step whether it is one, or None if a path may not take it (a fault). Every reachable state is looked
    at, those too that only such steps lead to.
    """
    parents: dict[Hashed, tuple[Hashed, str] | None] = {first: None}
    before: dict[Hashed, list[Hashed]] = {}
    alive: set[Hashed] = set()
    queue: deque[S] = deque([first])
    while queue:
        state = queue.popleft()
        for step in steps(state):
            if step.after not in parents:
                parents[step.after] = (state, step.text)
                queue.append(step.after)  # type: ignore[arg-type]
            worth = good(step)
            if worth:
                alive.add(state)
            elif worth is not None:
                before.setdefault(step.after, []).append(state)
    _spread(alive, before)
    dead = next((each for each in parents if each not in alive), None)  # in the order found: the first is among the nearest
    return [] if dead is None else [*_trace(parents, dead), "DEAD END"]


def _spread(alive: set[Hashed], before: dict[Hashed, list[Hashed]]) -> None:
    """Add whatever leads to a state in `alive`."""
    waiting = list(alive)
    while waiting:
        for state in before.get(waiting.pop(), ()):
            if state not in alive:
                alive.add(state)
                waiting.append(state)
