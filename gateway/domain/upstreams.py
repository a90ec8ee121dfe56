"""Upstream model servers: what is known of one, and which of its models it serves under which name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Headers = list[tuple[bytes, bytes]]
"""Header fields in the order sent; names in lower case."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One upstream server that serves a model, under the name it uses itself."""

    upstream_id: str
    upstream_name: str
    model: str
    upstream_model: str
    base_url: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream server as configured.

    `models` maps public names to the names the upstream uses itself; `lists_models` says that it serves, besides these, whatever
    its own `GET models` lists (`*` in settings). `source` is `config` (environment or gateway.toml; read-only), `demo` or
    `database`. `api_key` is a secret: never logged, never shown, so `repr` leaves it out.
    """

    id: str
    name: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    models: Mapping[str, str] = field(default_factory=dict)
    lists_models: bool = False
    weight: int = 1
    enabled: bool = True
    source: str = "database"
