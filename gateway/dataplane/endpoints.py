"""The data plane's routes, each with the policy that guards it. What is not declared here is refused; a route that declares no
policy stops the start-up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import unquote

from gateway.domain.errors import MethodNotAllowed, NotFound
from gateway.domain.grants import Model

PREFIX = "/compatible-mode/v1"


class Policy(Enum):
    """What a caller must show."""

    KEY = auto()  # a valid key
    MODEL = auto()  # a valid key that may use the model its body names


class UndeclaredPolicy(Exception):  # noqa: N818 — stops the start-up, names its cause
    """A route without a policy."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route. `path` is relative to the prefix; one that ends in `/*` takes the rest as a name. `types` are the kinds of model
    that it serves; a model of no declared kind is let through. `streams` says that a reply may be an event stream.
    """

    name: str
    method: str
    path: str
    policy: Policy | None = None
    types: frozenset[str] = frozenset()
    streams: bool = False

    def supports(self, model: Model) -> bool:
        return model.type is None or not self.types or model.type in self.types


ENDPOINTS = (
    Endpoint("chat.completions", "POST", "/chat/completions", Policy.MODEL, frozenset({"chat"}), streams=True),
    Endpoint("completions", "POST", "/completions", Policy.MODEL, frozenset({"chat", "completion"}), streams=True),
    Endpoint("embeddings", "POST", "/embeddings", Policy.MODEL, frozenset({"embedding"})),
    Endpoint("models.list", "GET", "/models", Policy.KEY),
    Endpoint("models.retrieve", "GET", "/models/*", Policy.KEY),
)


class Routes:
    """Finds the endpoint of a request. Raises UndeclaredPolicy when made of a route that nothing guards."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in endpoints:
            if endpoint.policy is None:
                raise UndeclaredPolicy(f"{endpoint.method} {PREFIX}{endpoint.path} declares no policy")
        self._exact = {(endpoint.method, endpoint.path): endpoint for endpoint in endpoints}
        self._named = [endpoint for endpoint in endpoints if endpoint.path.endswith("/*")]
        self._methods: dict[str, list[str]] = {}
        for endpoint in endpoints:
            self._methods.setdefault(endpoint.path, []).append(endpoint.method)

    def match(self, method: str, path: str) -> tuple[Endpoint, str]:
        """The endpoint and, where its path ends in a name, that name. `path` is as the client sent it, without its query.

        Raises NotFound, MethodNotAllowed.
        """
        relative = path[len(PREFIX) :]
        endpoint = self._exact.get((method, relative))
        if endpoint is not None:
            return endpoint, ""
        for named in self._named:
            stem = named.path[:-1]
            if relative.startswith(stem) and len(relative) > len(stem):
                if named.method != method:
                    raise MethodNotAllowed(method, named.method)
                return named, unquote(relative[len(stem) :])
        if relative in self._methods:
            raise MethodNotAllowed(method, ", ".join(self._methods[relative]))
        raise NotFound(method, path)
