"""Asking upstreams whether they are there and take their credential, for `gateway check`."""

import asyncio

import httpx2

from gateway.config import Problem
from gateway.domain.upstreams import Upstream

_ASK_SECONDS = 5.0
_REFUSED = (401, 403)
_OK = 200


async def every(upstreams: list[Upstream]) -> list[Problem | None]:
    """What is wrong with each upstream; None where nothing is."""
    async with httpx2.AsyncClient(timeout=_ASK_SECONDS, trust_env=False) as client:
        return await asyncio.gather(*(_ask(client, upstream) for upstream in upstreams))


async def _ask(client: httpx2.AsyncClient, upstream: Upstream) -> Problem | None:
    """What is wrong with an upstream, seen by its list of models, which costs nothing."""
    headers = {"authorization": f"Bearer {upstream.api_key}"} if upstream.api_key else {}
    source = f"upstream {upstream.name}"
    try:
        reply = await client.get(f"{upstream.base_url}/models", headers=headers)
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        words = str(error) or type(error).__name__
        return Problem(source, f"{upstream.base_url} cannot be reached: {words}", "Check its base_url and that the server runs.")
    if reply.status_code in _REFUSED:
        return Problem(source, f"{upstream.base_url} refuses the credential ({reply.status_code})", "Check its api_key.")
    if reply.status_code != _OK and upstream.lists_models:
        return Problem(
            source,
            f"{upstream.base_url}/models answers {reply.status_code}, so its models cannot be listed",
            "Check its base_url (most end in /v1), or name its models instead of *.",
        )
    return None
