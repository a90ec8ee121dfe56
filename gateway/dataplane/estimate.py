"""How many tokens a call will use, guessed from what was learned of calls before it.

Learned per workspace and model: input tokens a body byte, output tokens a byte of stream, and the mean output. All are running
means in which a new call weighs at least 2 %, so that they follow a change. Nothing is learned across workspaces: with a few odd
bodies (an image by its address, a megabyte of white space) one tenant would set what others reserve, and what they are charged
when they leave. They live in this process only.
"""

import math
from collections import OrderedDict
from typing import Literal

from gateway.domain.usage import Usage

ReserveOutput = Literal["none", "expected", "max"]
_Pair = tuple[str, str]

_BYTES_A_TOKEN = 4.0
_FIRST_OUTPUT = 256.0
_MEMORY = 50
_MOST_PAIRS = 10_000
_MOST_OUTPUT = 1_000_000_000.0  # no limit is higher, so no reservation has to be


class _Mean:
    """A running mean; it means nothing while `count` is 0."""

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.count = 0

    def learn(self, value: float) -> None:
        if self.count < _MEMORY:
            self.count += 1
        self.value += (value - self.value) / self.count


class _Learnt:
    """What is known of one workspace's calls of one model."""

    __slots__ = ("input", "output", "streamed")

    def __init__(self) -> None:
        self.input = _Mean()
        self.streamed = _Mean()
        self.output = _Mean()


_NOTHING = _Learnt()


class Estimator:
    """Estimates before a call and reckons after a broken one; `learn` is told of each call whose usage is known."""

    def __init__(self, reserve_output: ReserveOutput) -> None:
        self._reserve_output = reserve_output
        self._learnt: OrderedDict[_Pair, _Learnt] = OrderedDict()

    def input_tokens(self, workspace_id: str, model: str, body_bytes: int) -> int:
        return _input(self._learnt.get((workspace_id, model), _NOTHING), body_bytes)

    def reserve(self, workspace_id: str, model: str, body_bytes: int, max_output: int | None, choices: int) -> int:
        """Tokens to reserve for a call, at least 1."""
        learnt = self._learnt.get((workspace_id, model), _NOTHING)
        output = 0.0
        if self._reserve_output != "none":
            output = learnt.output.value if learnt.output.count else _FIRST_OUTPUT
            if max_output is not None:
                most = max(0, max_output)
                output = most if self._reserve_output == "max" else min(output, most)
        output = min(output, _MOST_OUTPUT) * min(choices, _MOST_OUTPUT)
        return max(1, _input(learnt, body_bytes) + math.ceil(output))

    def passed_by(self, workspace_id: str, model: str, events: int, stream_bytes: int) -> int:
        """Output tokens of a stream that ended without naming its usage: one an event at the least."""
        # A mean of nothing is 0.
        return max(events, math.ceil(stream_bytes * self._learnt.get((workspace_id, model), _NOTHING).streamed.value))

    def learn(
        self, workspace_id: str, model: str, body_bytes: int, usage: Usage, *, choices: int = 1, stream_bytes: int = 0
    ) -> None:
        pair = (workspace_id, model)
        learnt = self._learnt.get(pair)
        if learnt is None:
            learnt = self._learnt[pair] = _Learnt()
            if len(self._learnt) > _MOST_PAIRS:
                self._learnt.popitem(last=False)  # the one not used for longest
        else:
            self._learnt.move_to_end(pair)
        if body_bytes and usage.input:
            learnt.input.learn(usage.input / body_bytes)
        if stream_bytes and usage.output:
            learnt.streamed.learn(usage.output / stream_bytes)
        learnt.output.learn(usage.output / choices)


def _input(learnt: _Learnt, body_bytes: int) -> int:
    return math.ceil(body_bytes * (learnt.input.value if learnt.input.count else 1 / _BYTES_A_TOKEN))
