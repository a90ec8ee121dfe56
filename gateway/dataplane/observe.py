"""What metrics tell of calls. A call pays for being remembered; what it was is looked at later, for many calls at once.

`ended` only keeps the call. When so many are kept, and when somebody asks, they are looked at together: grouped by what they
have in common, and their times subtracted, sorted into buckets and summed by loops that are not Python's own. That costs a call
a third of what a dozen histograms cost one by one.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, sub
from typing import Any

from gateway.dataplane.call import Call
from gateway.ops.fills import Fills
from gateway.ops.histograms import FINE, LONG, Histogram, Histograms
from gateway.ops.snapshots import OTHER, Family, counter
from gateway.ops.top import Top

_log = logging.getLogger(__name__)
STEPS = ("authenticate", "read", "admit", "prepare", "upstream", "relay")
"""A call's way, each step from the end of the one before it. The step in which a call ended lasts until its end."""
OUTCOMES = (
    "ok",
    "refused",
    "upstream_error",
    "upstream_broke",
    "client_gone",
    "key_cut",
    "gateway_stopped",
    "internal_error",
)
"""How calls end. Each is shown from the start, so that the first of its kind is seen as an increase."""
OPERATIONS = {"chat.completions": "chat", "completions": "text_completion", "embeddings": "embeddings"}
"""What OpenTelemetry calls the endpoints."""
PROVIDER = "openai_compatible"

_AT_ONCE = 64
_FILLS_LOOKED_AT = 16
_MOST_MODELS = 1000
_FAILED = 400
_LIMITED = 429

_COMMON = attrgetter("endpoint", "asked", "stream", "status", "outcome", "refused", "refused_at", "upstream")
_TIMES = attrgetter(
    "started",
    "authenticated_at",
    "read_at",
    "admitted_at",
    "sent_at",
    "answered_at",
    "ended_at",
    "upstream_seconds",
    "client_seconds",
    "waited_seconds",
    "first_byte",
    "usage",
)
_INPUT, _OUTPUT = attrgetter("input"), attrgetter("output")
_WORKSPACE, _KEY = attrgetter("principal.workspace_id"), attrgetter("principal.key_id")

# The bounds that OpenTelemetry's semantic conventions ask for.
_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(float(4**power) for power in range(14))
_PER_CHUNK = (0.001, 0.0025, 0.005, *_PER_TOKEN, 5.0, 10.0, 30.0)

# Closest where most calls are, so that quantiles are told to a tenth.
_OVERHEAD = tuple(sorted({*(step / 20000 for step in range(2, 21)), 0.00125, 0.0015, 0.00175, 0.002, 0.003, 0.004, *FINE[4:]}))

_Times = Sequence[Sequence[Any]]


class Observer:
    """The metrics of calls in one process. `known` says whether a name is a model of the catalogue; `top` is how many workspaces,
    keys and buckets are named.
    """

    def __init__(self, known: Callable[[str], bool], *, top: int) -> None:
        self._known = known
        self._models: set[str] = set()
        self._ended: list[Call] = []
        self._calls: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._outcomes: defaultdict[tuple[str, ...], float] = defaultdict(float, {(outcome,): 0.0 for outcome in OUTCOMES})
        self._fills = Fills(top)
        self._tops = _tops(top)
        self._gen_ai = _gen_ai()
        self._own = _own()

    def ended(self, call: Call) -> None:
        """A call came to its end, now. Raises nothing: the call is over, and its reply was right."""
        call.ended_at = time.monotonic()
        ended = self._ended
        ended.append(call)
        if len(ended) >= _AT_ONCE:
            try:
                self.look()
            except Exception:  # noqa: BLE001 — whatever is wrong with what is told of calls, calls go on
                _log.exception("what %d calls were is in no metric", len(ended))

    def gaps(self, call: Call) -> Histogram:
        """The histogram of the times between the parts of a stream, for whoever relays it."""
        return self._gen_ai["chunk"].of(OPERATIONS.get(call.endpoint, ""), self._model(call.asked))

    def families(self) -> Iterable[Family]:
        """The metrics of all calls that have ended."""
        self.look()
        labels = ("endpoint", "model", "status", "reason", "level")
        yield counter("gateway_calls", "Calls by endpoint, model, status and reason of a refusal.", labels, self._calls)
        yield counter("gateway_call_outcomes", "Calls by how they ended.", ("outcome",), self._outcomes)
        for histograms in (*self._gen_ai.values(), *self._own.values()):
            yield histograms.family()
        for top in self._tops.values():
            yield top.family()
        yield self._fills.family()

    def look(self) -> None:
        """Look at the calls that are kept, and forget them."""
        calls, self._ended = self._ended, []
        if not calls:
            return
        groups: defaultdict[tuple[Any, ...], list[Call]] = defaultdict(list)
        for common, call in zip(map(_COMMON, calls), calls, strict=True):
            groups[common].append(call)
        limited: list[Call] = []
        for (endpoint, asked, stream, status, outcome, refused, refused_at, upstream), some in groups.items():
            model = self._model(asked)
            self._calls[endpoint, model, str(status), refused, refused_at] += len(some)
            self._outcomes[(outcome,)] += len(some)
            times = list(zip(*map(_TIMES, some), strict=True))
            self._look_at_steps(endpoint, some, times)
            if endpoint in OPERATIONS:
                error = "" if status < _FAILED and outcome == "ok" else str(status) if status >= _FAILED else outcome
                self._look_at_model_calls(OPERATIONS[endpoint], model, error, stream=stream, times=times)
            if upstream:
                self._own["upstream"].of(upstream).add(list(map(sub, times[5], times[4])))
            if status == _LIMITED and not upstream:
                limited += some
        self._look_at_callers(calls, limited)

    def _model(self, asked: str) -> str:
        """The label: a model of the catalogue, `other` for any other name, empty where none was asked for."""
        if asked in self._models or not asked:
            return asked
        if len(self._models) < _MOST_MODELS and self._known(asked):
            self._models.add(asked)
            return asked
        return OTHER

    def _look_at_steps(self, endpoint: str, calls: Sequence[Call], times: _Times) -> None:
        ended, steps = times[6], STEPS if endpoint in OPERATIONS else STEPS[:1]
        # All came to the same step, or each is looked at by itself.
        if len(calls) > 1 and any(min(marks) == 0.0 < max(marks) for marks in times[1 : len(steps)]):
            for call in calls:
                self._look_at_steps(endpoint, [call], [[value] for value in _TIMES(call)])
            return
        for number, step in enumerate(steps):
            begun, done = times[number], times[number + 1]
            reached = done[0] != 0.0
            self._own["step"].of(step).add(list(map(sub, done if reached else ended, begun)))
            if not reached:
                return

    def _look_at_model_calls(self, operation: str, model: str, error: str, *, stream: bool, times: _Times) -> None:
        started, ended, first, usages = times[0], times[6], times[10], times[11]
        gen_ai, own, streamed = self._gen_ai, self._own, str(stream).lower()
        whole = list(map(sub, ended, started))
        gen_ai["duration"].of(operation, model, error).add(whole)
        if 0.0 not in times[4]:  # all were sent to an upstream
            others = map(sum, zip(times[7], times[8], times[9], strict=True))
            own["overhead"].of(streamed).add(list(map(sub, whole, others)))
        if None in first:
            begun = [pair for pair in zip(first, started, strict=True) if pair[0] is not None]
            waits = [byte - start for byte, start in begun]
        else:
            waits = list(map(sub, first, started))
        own["first"].of(streamed).add(waits)
        if stream and not error:
            gen_ai["first"].of(operation, model).add(waits)
            rest = [
                (end - byte) / (used.output - 1)
                for byte, end, used in zip(first, ended, usages, strict=True)
                if byte is not None and used is not None and used.output > 1
            ]
            gen_ai["pace"].of(operation, model).add(rest)
        told = [usage for usage in usages if usage is not None] if None in usages else usages
        if told:
            gen_ai["tokens"].of(operation, model, "input").add(list(map(_INPUT, told)))
            gen_ai["tokens"].of(operation, model, "output").add(list(map(_OUTPUT, told)))

    def _look_at_callers(self, calls: Sequence[Call], limited: Sequence[Call]) -> None:
        tops = self._tops
        callers = [call for call in calls if call.principal is not None]
        tops["workspaces"].add(map(_WORKSPACE, callers))
        tops["keys"].add(map(_KEY, callers))
        if limited:
            tops["limited workspaces"].add(map(_WORKSPACE, limited))
            tops["limited keys"].add(map(_KEY, limited))
        # A sample says which buckets are busy; one that refuses is.
        for call in (*callers[:: 1 + len(callers) // _FILLS_LOOKED_AT], *limited[:_FILLS_LOOKED_AT]):
            if call.decision is not None:
                self._fills.look(call.admitted_at or call.ended_at, call.decision.gauges)


def _gen_ai() -> dict[str, Histograms]:
    """The metrics that OpenTelemetry's semantic conventions for generative AI name."""
    labels = ("gen_ai_operation_name", "gen_ai_request_model")

    def made(name: str, text: str, bounds: Sequence[float], *more: str) -> Histograms:
        return Histograms(name, text, bounds, (*labels, *more), always=(("gen_ai_provider_name", PROVIDER),))

    return {
        "duration": made("gen_ai_server_request_duration_seconds", "How long calls took, to the end.", _DURATION, "error_type"),
        "first": made("gen_ai_server_time_to_first_token_seconds", "Until a stream's first part was here.", _FIRST_TOKEN),
        "pace": made("gen_ai_server_time_per_output_token_seconds", "Time of each further token of a stream.", _PER_TOKEN),
        "chunk": made("gen_ai_client_operation_time_per_output_chunk_seconds", "Times between the parts of streams.", _PER_CHUNK),
        "tokens": made("gen_ai_client_token_usage", "Tokens of a call, as upstreams named them.", _TOKENS, "gen_ai_token_type"),
    }


def _own() -> dict[str, Histograms]:
    return {
        "first": Histograms("gateway_time_to_first_byte_seconds", "Until a reply's first byte was here.", LONG, ("stream",)),
        "overhead": Histograms("gateway_overhead_seconds", "Time that calls took in the gateway itself.", _OVERHEAD, ("stream",)),
        "step": Histograms("gateway_step_seconds", "How long calls were in each step.", FINE + LONG[-5:], ("step",)),
        "upstream": Histograms("gateway_upstream_reply_seconds", "Until an upstream's reply began.", LONG, ("upstream",)),
    }


def _tops(size: int) -> dict[str, Top]:
    def made(of: str, name: str, text: str) -> Top:
        return Top(f"gateway_{of}_{name}", text.format(f"{of}s"), of, size)

    return {
        "workspaces": made("workspace", "calls", "Calls of the {} that call most."),
        "limited workspaces": made("workspace", "limited_calls", "Calls over a limit, of the {} that have most."),
        "keys": made("key", "calls", "Calls of the {} that call most."),
        "limited keys": made("key", "limited_calls", "Calls over a limit, of the {} that have most."),
    }
