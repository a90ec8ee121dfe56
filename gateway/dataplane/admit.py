"""Steps 2 and 3: may this caller have this model, and is there room for the call?

Both are asked in one decision that also compares the policy epoch, so an answer never rests on a policy that an acknowledged
change has replaced. Refusals are confirmed the same way, by an admission without claims (admission.md, Epochs 3 and 4): a stale
answer has the principal read again and the question put again, at most three times.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gateway.dataplane.authenticate import Keys
from gateway.dataplane.call import Call
from gateway.dataplane.endpoints import Endpoint
from gateway.dataplane.estimate import Estimator
from gateway.dataplane.ports import Admissions, Catalogue, Exchange
from gateway.dataplane.waiting import WaitingRoom
from gateway.dataplane.wire import Body
from gateway.domain.admission import Answer, Ask, Decision, Slot, claims_of
from gateway.domain.buckets import Claim, Kind, Level
from gateway.domain.errors import (
    InvalidKey,
    LimitConcurrency,
    LimitRequests,
    LimitTokens,
    ModelAccessDenied,
    ModelNotFound,
    ModelNotSupported,
    ModelUnavailable,
    Refusal,
    ServiceUnavailable,
)
from gateway.domain.faults import StorageUnavailable
from gateway.domain.grants import KeyStatus, Limits, Model, Principal, may_use
from gateway.ops.metrics import Metrics, asked_of

_ROUNDS = 3
_STALE_RETRY_MS = 50
_AWAY_RETRY_MS = 1000
_UNLISTED_RETRY_MS = 5000

Wants = tuple[tuple[Claim, ...], tuple[Slot, ...], int]
"""Claims and slots, and which claims they are (`ops.metrics.asked_of`)."""
Question = Callable[[Principal], Wants]
"""What to ask for a principal; raises a Refusal where the answer is no without asking the buckets."""

_NOTHING: Wants = ((), (), 0)


@dataclass(frozen=True, slots=True)
class OpenAtOnce:
    """How many calls may be open at once: of a model, by account and by sub-workspace, and of a key; None is no limit."""

    account: int | None = None
    workspace: int | None = None
    key: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What every call of one model is held to, worked out once for a principal; `model` is the catalogue's of that time."""

    model: Model
    claims: tuple[Claim, ...]
    slots: tuple[Slot, ...]
    asked: int

    def of(self, tokens: int) -> tuple[Claim, ...]:
        """The claims of a call that may use so many tokens."""
        return tuple(
            [
                claim
                if claim.kind is Kind.REQUESTS
                else Claim(
                    claim.level,
                    claim.kind,
                    claim.owner,
                    claim.model,
                    claim.limit,
                    claim.capacity,
                    min(claim.capacity, tokens),
                    claim.bucket,
                )
                for claim in self.claims
            ]
        )


@dataclass(frozen=True, slots=True)
class Gate:
    """All that a decision is made from."""

    keys: Keys
    catalogue: Catalogue
    admissions: Admissions
    estimator: Estimator
    waiting: WaitingRoom
    metrics: Metrics
    defaults: Limits
    open_at_once: OpenAtOnce = OpenAtOnce()

    async def authenticate(self, call: Call, exchange: Exchange) -> None:
        """Find who calls; a key that is known to be disabled is refused here, before its body is read. Raises a 401 or 503."""
        call.digest = self.keys.digest_of(exchange.headers, exchange.fields)
        call.principal = self.keys.known(call.digest) or await self.keys.find(call.digest)
        if call.principal.status is not KeyStatus.ACTIVE:
            await self.confirm(call)

    async def confirm(self, call: Call) -> None:
        """An admission without claims: the policy that the caller is held to is the present one, and lets its key in."""
        await self._decide(call, lambda _: _NOTHING)

    async def admit(self, call: Call, body: Body, endpoint: Endpoint, wait_seconds: float) -> None:
        """Reserve room for the call; `call.decision` and `call.model` tell how. Raises a 401, 403, 404, 429 or 503."""
        if self.catalogue.model(body.model) is None:
            await self.catalogue.discover(body.model)

        def question(principal: Principal) -> Wants:
            model = call.model = self._allowed(principal, body.model, endpoint)
            held = principal.held.get(model.name)
            if not isinstance(held, Held) or held.model is not model:
                held = principal.held[model.name] = self._held(principal, model)
            tokens = self.estimator.reserve(principal.workspace_id, model.name, len(body.raw), body.max_output, body.choices)
            return held.of(tokens), held.slots, held.asked

        def permission(principal: Principal) -> Wants:
            self._allowed(principal, body.model, endpoint)
            return _NOTHING

        if wait_seconds <= 0 and not self.waiting.waiting:
            decision = await self._decide(call, question)
        else:
            pair = (call.caller.workspace_id, body.model)
            if self.waiting.has_line(pair):
                await self._decide(call, permission)  # who may not call at all is told so, not to wait
            begun = time.monotonic()
            try:
                decision = await self.waiting.admit(pair, partial(self._decide, call, question), wait_seconds)
            finally:
                call.waited_seconds = time.monotonic() - begun
        call.decision = decision
        if decision.answer is Answer.REFUSED:
            raise _limit(decision)

    def usable(self, principal: Principal) -> list[tuple[Model, str]]:
        """The models that the caller may use, by the predicate that enforcement uses, each with who owns it."""
        return [(model, owner) for model, owner in self.catalogue.models() if may_use(principal, model.name)]

    def _allowed(self, principal: Principal, name: str, endpoint: Endpoint) -> Model:
        model = self.catalogue.model(name)
        if model is None:
            if not self.catalogue.is_whole:
                raise ModelUnavailable(f"{name} may be one that an upstream has yet to list", retry_after_ms=_UNLISTED_RETRY_MS)
            raise ModelNotFound(name)
        if not may_use(principal, name):
            raise ModelAccessDenied(f"{name} for {principal.key_id}")
        if not endpoint.supports(model):
            raise ModelNotSupported(name)
        return model

    def _held(self, principal: Principal, model: Model) -> Held:
        claims, slots = self._claims(principal, model), self._slots(principal, model)
        return Held(model, claims, slots, asked_of(claims, slots))

    def _claims(self, principal: Principal, model: Model) -> tuple[Claim, ...]:
        account = principal.account_limits.get(model.name, Limits()).over(model.limits).over(self.defaults)
        claims: list[Claim] = []
        if not principal.is_default:
            own = principal.grants.get(model.name, Limits())
            claims += claims_of(Level.WORKSPACE, principal.workspace_id, model.name, own)
        claims += claims_of(Level.ACCOUNT, principal.account_id, model.name, account)
        return tuple(claims)

    def _slots(self, principal: Principal, model: Model) -> tuple[Slot, ...]:
        most, slots = self.open_at_once, []
        if most.key is not None:
            slots.append(Slot("key", principal.key_id, "", most.key))
        if most.workspace is not None and not principal.is_default:
            slots.append(Slot("workspace", principal.workspace_id, model.name, most.workspace))
        if most.account is not None:
            slots.append(Slot("account", principal.account_id, model.name, most.account))
        return tuple(slots)

    async def _decide(self, call: Call, question: Question) -> Decision:
        nonce = ""
        for _ in range(_ROUNDS):
            principal = call.caller
            refusal: Refusal | None = None
            wants = _NOTHING
            try:
                if principal.status is not KeyStatus.ACTIVE:
                    raise InvalidKey(f"{principal.key_id} is {principal.status}")
                wants = question(principal)
            except Refusal as caught:
                refusal = caught
            try:
                decision = await self.admissions.admit(
                    Ask(call.id, principal.account_id, principal.epoch, claims=wants[0], nonce=nonce, slots=wants[1])
                )
            except StorageUnavailable as error:
                raise ServiceUnavailable(f"limits: {error}", retry_after_ms=_AWAY_RETRY_MS) from error
            self.metrics.decided(call.asked, wants[2], decision)
            if decision.answer is not Answer.STALE:
                if refusal is not None:
                    raise refusal
                return decision
            nonce = decision.nonce  # the read below is sent after it was learnt, so what it finds may be installed
            call.principal = await self.keys.read(call.digest)
        raise ServiceUnavailable("the policy kept changing", retry_after_ms=_STALE_RETRY_MS)


def _limit(decision: Decision) -> Refusal:
    """The 429 that a refused decision is: all that it says comes from that one decision."""
    if decision.full is not None:
        full = decision.full
        wait_ms = -(-decision.wait_us // 1000)
        return LimitConcurrency(f"{full.level} {full.owner} {full.model}", retry_after_ms=wait_ms)
    refused = decision.refused
    kind = LimitRequests if refused is None or refused.kind is Kind.REQUESTS else LimitTokens
    detail = f"{refused.level.name.lower()} {refused.owner} {refused.model}" if refused else ""
    return kind(detail, retry_after_ms=max(1, -(-decision.wait_us // 1000)))
