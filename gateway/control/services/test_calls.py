"""Test calls: one small call to an upstream, made by a person to see what comes back."""

import json
from dataclasses import dataclass

from gateway.control.context import Caller, Services
from gateway.control.problems import BadRequest
from gateway.control.services import upstreams
from gateway.control.services.audit import record
from gateway.control.services.test_answers import Answer, read
from gateway.control.services.upstreams import KnownUpstream
from gateway.domain.roles import Right
from gateway.domain.trials import Trial
from gateway.storage.sql.engine import writing

_MOST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Called:
    """A test call: what was asked of which model (None where the list of models was asked for), and what came of it."""

    model: str | None
    upstream_model: str | None
    status: int | None
    milliseconds: int
    answer: Answer


async def run(services: Services, caller: Caller, upstream_id: str, *, model: str | None, prompt: str) -> Called:
    """Ask an upstream, disabled or not, with its own credential; without `model` for the first that it serves.

    Where it is not known to serve any, its list of models is asked for. It is written to the audit trail, without prompt and
    reply, and metered for nobody. Raises NotFound, Forbidden, BadRequest.
    """
    caller.require(Right.MANAGE_CATALOGUE)
    known = await upstreams.get(services, caller, upstream_id)
    public, own = _model(known, model)
    kind = _kind(services, public)
    outcome = await services.upstreams.try_out(known.upstream, _trial(kind, own or "", prompt))
    called = Called(public, own, outcome.status, outcome.milliseconds, read(outcome, kind, known.upstream.api_key))
    async with writing(services.engine) as conn:
        seen = {"model": public, "ok": called.answer.ok, "status": called.status, "milliseconds": called.milliseconds}
        await record(conn, services, caller, "upstream.test", upstream_id, after=seen)
    return called


def _model(known: KnownUpstream, wanted: str | None) -> tuple[str | None, str | None]:
    """The public name of the model that is asked for, and the upstream's own. Raises BadRequest."""
    upstream = known.upstream
    serves = known.serves
    if wanted is None:
        wanted = next(iter(serves), None)
        if wanted is None:
            return None, None
    if wanted not in serves and wanted not in upstream.models and not upstream.lists_models:
        raise BadRequest.field("model", "This upstream does not serve this model; choose one of those that it serves.")
    return wanted, upstream.models.get(wanted, wanted)


def _kind(services: Services, model: str | None) -> str:
    if model is None:
        return "list"
    known = services.catalogue.model(model)
    return "chat" if known is None or known.type is None else known.type


def _trial(kind: str, model: str, prompt: str) -> Trial:
    match kind:
        case "list":
            return Trial("/models")
        case "embedding":
            return _asked("/embeddings", {"model": model, "input": prompt})
        case "completion":
            return _asked("/completions", {"model": model, "prompt": prompt, "max_tokens": _MOST_TOKENS})
        case _:
            messages = [{"role": "user", "content": prompt}]
            return _asked("/chat/completions", {"model": model, "messages": messages, "max_tokens": _MOST_TOKENS})


def _asked(path: str, body: dict[str, object]) -> Trial:
    return Trial(path, json.dumps(body, ensure_ascii=False).encode())
