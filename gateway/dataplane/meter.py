"""Step 6: settle and record, once, whatever happened. Settling never waits, so that no cancellation can come in between."""

import asyncio
import time
from dataclasses import dataclass

from gateway.dataplane.call import Call
from gateway.dataplane.estimate import Estimator
from gateway.dataplane.ports import Admissions, Ledger
from gateway.domain.errors import ServiceUnavailable
from gateway.domain.ledger import Entry
from gateway.domain.usage import NOTHING_USED, Usage

BILLING = "payg"
_STRICT_SECONDS = 10.0
_RETRY_MS = 1000
_FAILED = 400
_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Meter:
    """Turns a call that was admitted, and is over, into a settlement, a ledger entry and a lesson for the estimator.

    `strict` has a reply end only after its entry is acknowledged.
    """

    admissions: Admissions
    ledger: Ledger
    estimator: Estimator
    strict: bool = False

    async def before_end(self, call: Call) -> None:
        """What has to be done once all of a reply is known, before its end is sent.

        Raises ServiceUnavailable if nobody takes the entry.
        """
        if not self.strict or call.finished:
            return
        self.finish(call)
        try:
            async with asyncio.timeout(_STRICT_SECONDS):
                await self.ledger.acknowledged()
        except TimeoutError:
            raise ServiceUnavailable("the ledger does not acknowledge", retry_after_ms=_RETRY_MS) from None

    def finish(self, call: Call) -> None:
        """Close a call's account, once. One that was not admitted leaves no trace but that a lost admission is given back."""
        if call.finished:
            return
        call.finished = True
        if not call.admitted:
            self.admissions.settle(call.caller.account_id, call.id, 0)
            return
        if call.outcome == "ok" and call.status >= _FAILED:
            call.outcome = "upstream_error"
        usage = self._usage(call)
        caller = call.caller
        self.admissions.settle(caller.account_id, call.id, usage.total)
        model = call.model.name if call.model else ""
        if call.usage is not None and call.outcome == "ok":
            self.estimator.learn(
                caller.workspace_id,
                model,
                call.body_bytes,
                call.usage,
                choices=call.choices,
                stream_bytes=call.reply_bytes if call.stream else 0,
            )
        first = call.first_byte
        self.ledger.append(
            Entry(
                call_id=call.id,
                at=call.at,
                account_id=caller.account_id,
                workspace_id=caller.workspace_id,
                key_id=caller.key_id,
                endpoint=call.endpoint,
                model=model,
                deployment=f"{call.deployment.upstream_id}/{call.deployment.upstream_model}" if call.deployment else "",
                stream=call.stream,
                status=call.status,
                outcome=call.outcome,
                input_tokens=usage.input,
                output_tokens=usage.output,
                cached_tokens=usage.cached,
                estimated=usage.estimated,
                billing=BILLING,
                ttft_ms=None if first is None else round((first - call.started) * 1000),
                duration_ms=round((time.monotonic() - call.started) * 1000),
            )
        )

    def _usage(self, call: Call) -> Usage:
        """What to charge: what the upstream named; else, where it did work, what the bytes that passed by say.

        Work was done if the reply began well, or if the client left (or was cut off) once the request was on its way.
        """
        if call.usage is not None:
            return call.usage
        left = call.outcome in ("client_gone", "key_cut", "gateway_stopped")
        if call.upstream_status not in _SUCCESS and not (left and call.sent and call.upstream_status == 0):
            return NOTHING_USED
        model = call.model.name if call.model else ""
        return Usage(
            input=self.estimator.input_tokens(call.caller.workspace_id, model, call.body_bytes),
            output=self.estimator.passed_by(call.caller.workspace_id, model, call.events, call.reply_bytes),
            estimated=True,
        )
