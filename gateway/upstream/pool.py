"""Directory and client behind the data plane's port `Upstreams`."""

from collections.abc import Sequence

from gateway.domain.faults import UpstreamFault
from gateway.domain.upstreams import Deployment, Headers
from gateway.upstream.client import HttpClient, HttpReply
from gateway.upstream.directory import Directory


class UpstreamPool:
    """Choice from the directory, calls through the client."""

    def __init__(self, directory: Directory, client: HttpClient) -> None:
        self._directory = directory
        self._client = client

    def choose(self, model: str, tried: Sequence[Deployment]) -> Deployment | None:
        return self._directory.choose(model, tried)

    def report(self, deployment: Deployment, *, healthy: bool) -> None:
        self._directory.report(deployment, healthy=healthy)

    async def send(self, deployment: Deployment, path: str, headers: Headers, body: bytes) -> HttpReply:
        """POST to the deployment's upstream with its own credential. Raises `domain.faults.UpstreamFault`.

        Address and credential are both today's: a credential never goes to an address that it was not entered for.
        """
        upstream = self._directory.upstream(deployment.upstream_id)
        if upstream is None or not upstream.enabled:
            raise UpstreamFault("the upstream was removed or disabled", reached=False)
        try:
            return await self._client.send(upstream, path, headers, body)
        except UpstreamFault as fault:
            self._directory.call_failed(upstream, str(fault))
            raise
