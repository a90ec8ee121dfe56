"""Requests that can be repeated safely: an `Idempotency-Key` names one, so that a repeat makes nothing a second time.

The header is that of draft-ietf-httpapi-idempotency-key-header; its value is taken as it is. A key belongs to whoever sent it
and to the place that it was sent for, and is forgotten after a day.
"""

import hmac
import json
from collections.abc import Mapping

from gateway.control.context import Caller, Services
from gateway.control.problems import IdempotencyKeyReused
from gateway.storage.sql import idempotency
from gateway.storage.sql.engine import AsyncConnection
from gateway.storage.sql.idempotency import Claim

KEPT_MS = 24 * 3_600_000


def _digest(services: Services, *parts: object) -> bytes:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hmac.digest(services.pepper, b"idempotency:" + text.encode(), "sha256")


async def made_before(
    conn: AsyncConnection,
    services: Services,
    caller: Caller,
    key: str,
    *,
    scope: str,
    request: Mapping[str, object],
    target: str,
) -> str | None:
    """The ID of what an earlier request with this key has made; None for the first, which makes `target` in this transaction.

    `scope` is the place that the key counts in, and `request` what is asked for, as plain values. Raises IdempotencyKeyReused
    where something else was asked for with this key.
    """
    wanted = Claim(
        digest=_digest(services, caller.identity.user_id, scope, key), request=_digest(services, request), target=target
    )
    now = services.now_ms()
    await idempotency.delete_old(conn, now - KEPT_MS)
    earlier = await idempotency.claim(conn, wanted, now_ms=now, since_ms=now - KEPT_MS)
    if earlier is None:
        return None
    if not hmac.compare_digest(earlier.request, wanted.request):
        raise IdempotencyKeyReused
    return earlier.target
