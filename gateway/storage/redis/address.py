"""Where Redis is, as one URL: a single server, servers behind Sentinel, or a Cluster.

    redis://[user:password@]host[:port][/db]              rediss:// for TLS
    unix://[user:password@]/path/to/socket[?db=0]
    redis+sentinel://[user:password@]host[:port],host[:port]/master-name[/db]     rediss+sentinel:// for TLS
    redis+cluster://[user:password@]host[:port],host[:port]                       rediss+cluster:// for TLS

Options follow a `?`. TLS: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs` (required, optional or none) and
`ssl_check_hostname`. Sentinels with a password of their own: `sentinel_username`, `sentinel_password`. An IPv6 address stands
in brackets; what is special in a URL is percent-encoded.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import FullJitterBackoff, NoBackoff

from gateway.storage.redis.wire import PlainConnection, TlsConnection, UnixConnection

Kind = Literal["single", "sentinel", "cluster"]

_CONNECT_SECONDS = 1.0
_SOCKET_SECONDS = 5.0
_SENTINEL_SECONDS = 0.5  # a sentinel that is away must not use up the time to connect
_CLIENT_NAME = "workspace-gateway"
_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("single", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_DEFAULT_PORTS: dict[Kind, int] = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_UNENCODED = "a Redis URL cannot be read: in a password, write # / ? [ ] @ % as %23 %2F %3F %5B %5D %40 %25"
_TLS_OPTIONS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
_SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
_ENCODED = "; in a password, each of / ? # @ : % is percent-encoded (%2F for /)"


@dataclass(frozen=True, slots=True)
class Address:
    """One place where Redis is. `hosts` are the server, the sentinels or some of the cluster's nodes; none with a `path`."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    tls_options: tuple[tuple[str, str | bool], ...] = ()
    master_name: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """The address that `url` means. Raises ValueError, which says what is wrong and quotes nothing of `url`: what is read
        as a host, a port or an option may be a piece of a password in which a character was not percent-encoded.
        """
        scheme, found, rest = url.partition("://")
        if not found or scheme not in _SCHEMES:
            raise ValueError(f"a Redis URL starts with one of {', '.join(f'{known}://' for known in _SCHEMES)}")
        kind, tls = _SCHEMES[scheme]
        # Parsed under a scheme that urlsplit treats like http, whatever Python's version knows of Redis.
        try:
            parts = urlsplit(f"http://{rest}")
        except ValueError:
            raise ValueError(_UNENCODED) from None
        if "#" in rest or "@" in parts.path + parts.query:
            raise ValueError(_UNENCODED)
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        options = _options(parts.query, tls=tls, kind=kind)
        common: dict[str, Any] = {
            "username": unquote(username) or None,
            "password": unquote(password) or None,
            "tls": tls,
            "tls_options": tuple((name, _tls_value(name, value)) for name, value in options.items() if name in _TLS_OPTIONS),
        }
        if username and not password:
            raise ValueError(
                "a Redis URL with a user name needs a password too: redis://user:password@host, or redis://:password@host"
            )
        if scheme == "unix":
            return cls("single", path=_socket_path(hosts, parts.path), db=_database(options.get("db", "0")), **common)
        places = tuple(_place(part, _DEFAULT_PORTS[kind]) for part in hosts.split(","))
        segments = [unquote(part) for part in parts.path.split("/") if part]
        if kind == "single":
            return cls(kind, _one(places), db=_single_database(segments, options), **common)
        if kind == "cluster":
            if segments not in ([], ["0"]):
                raise ValueError("a Redis Cluster has only database 0: the URL ends after the hosts")
            return cls(kind, places, **common)
        if not 1 <= len(segments) <= 2:  # noqa: PLR2004 — the name, and perhaps a database
            raise ValueError("a Sentinel URL names the master after the hosts: redis+sentinel://host:26379/master-name")
        return cls(
            kind,
            places,
            db=_database(segments[1] if len(segments) > 1 else "0"),
            master_name=segments[0],
            sentinel_username=options.get("sentinel_username"),
            sentinel_password=options.get("sentinel_password"),
            **common,
        )

    def __str__(self) -> str:
        """The address without its secrets, for messages."""
        if self.path is not None:
            return f"unix://{self.path}"
        scheme = ("rediss" if self.tls else "redis") + ("" if self.kind == "single" else f"+{self.kind}")
        name = f"/{self.master_name}" if self.master_name else ""
        return f"{scheme}://{','.join(place(host, port) for host, port in self.hosts)}{name}"

    def connection(self, host: str, port: int) -> PlainConnection | TlsConnection | UnixConnection:
        """A connection to one server, not opened yet, that takes over to a `Link`; `host` and `port` say nothing to a socket."""
        common: dict[str, Any] = {
            "db": self.db,
            "username": self.username,
            "password": self.password,
            "client_name": _CLIENT_NAME,
            "driver_info": None,  # Redis 6.2 does not know CLIENT SETINFO, and it would be a round trip for nothing
            "socket_timeout": None,  # who connects limits the time of all of it
            "socket_connect_timeout": _CONNECT_SECONDS,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),  # who connects has a back-off of its own
        }
        if self.path is not None:
            return UnixConnection(path=self.path, **common)
        if self.tls:
            return TlsConnection(host=host, port=port, **(common | dict(self.tls_options)))
        return PlainConnection(host=host, port=port, **common)

    def sentinel(self) -> Sentinel:
        """The sentinels, to be asked for the master and closed by the caller."""
        common = self._client_options()
        mine: dict[str, Any] = {
            "username": self.sentinel_username,
            "password": self.sentinel_password,
            "socket_timeout": _SENTINEL_SECONDS,
            "socket_connect_timeout": _SENTINEL_SECONDS,
            "client_name": _CLIENT_NAME,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
        }
        if self.tls:
            mine |= {"ssl": True, **dict(self.tls_options)}
        return Sentinel(list(self.hosts), sentinel_kwargs=mine, **common)  # type: ignore[no-untyped-call]

    def client(self) -> Redis | RedisCluster:
        """A client for everything that is not admission: pooled, repeating with jittered back-off what a broken connection lost.

        It connects at its first command. The caller closes it with `aclose()`.
        """
        options = self._client_options()
        if self.kind == "cluster":
            nodes = [ClusterNode(host, port) for host, port in self.hosts]
            # Slots that nobody holds now must not keep it from the rest.
            return RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options)
        if self.kind == "sentinel":
            master: Redis = self.sentinel().master_for(self.master_name or "", redis_class=_OfSentinel)
            return master
        if self.path is not None:
            return Redis(unix_socket_path=self.path, db=self.db, **options)
        ((host, port),) = self.hosts
        return Redis(host=host, port=port, db=self.db, **options)

    def _client_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "username": self.username,
            "password": self.password,
            "client_name": _CLIENT_NAME,
            "socket_timeout": _SOCKET_SECONDS,
            "socket_connect_timeout": _CONNECT_SECONDS,
            "protocol": 2,
            "retry": Retry(FullJitterBackoff(cap=0.5, base=0.02), 3),
        }
        if self.kind == "sentinel":
            options["db"] = self.db
        if self.tls:
            options |= {"ssl": True, **dict(self.tls_options)}
        return options


class _OfSentinel(Redis):
    """A client of the master that sentinels name; it closes its connections to them as well."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        pool = self.connection_pool
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()


def place(host: str, port: int) -> str:
    """`host:port`, as names of nodes and messages have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _options(query: str, *, tls: bool, kind: Kind) -> dict[str, str]:
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError(f"the options after '?' in a Redis URL are name=value, joined by '&'{_ENCODED}") from None
    known = (_TLS_OPTIONS if tls else set()) | (_SENTINEL_OPTIONS if kind == "sentinel" else set())
    known |= {"db"} if kind == "single" else set()
    unknown = sorted(options.keys() - known)
    if unknown:
        can = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
        raise ValueError(f"an option after '?' is not known in a Redis URL of this kind: {can}{_ENCODED}")
    return options


def _tls_value(name: str, value: str) -> str | bool:
    if name == "ssl_check_hostname":
        if value.lower() not in {"true", "false"}:
            raise ValueError("ssl_check_hostname in a Redis URL is true or false")
        return value.lower() == "true"
    if name == "ssl_cert_reqs" and value not in {"required", "optional", "none"}:
        raise ValueError("ssl_cert_reqs in a Redis URL is required, optional or none")
    return value


def _socket_path(hosts: str, path: str) -> str:
    if hosts or len(path) < 2:  # noqa: PLR2004 — "/" alone names no socket
        raise ValueError("a unix:// URL has the socket's absolute path: unix:///run/redis/redis.sock")
    return unquote(path)


def _place(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"a host in a Redis URL is host or host:port, with a port from 1 to 65535{_ENCODED}") from None
    if not host:
        raise ValueError(f"a Redis URL names a host; hosts are joined by a comma, without blanks{_ENCODED}")
    if text.endswith(":") or port == 0:
        raise ValueError(f"a port in a Redis URL is a number from 1 to 65535{_ENCODED}")
    return unquote(host), default_port if port is None else port


def _one(places: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    if len(places) > 1:
        raise ValueError("redis:// has one host; for several, write redis+sentinel:// or redis+cluster://")
    return places


def _single_database(segments: list[str], options: dict[str, str]) -> int:
    if len(segments) > 1 or (segments and "db" in options):
        raise ValueError("a Redis URL ends with one database number at most: redis://host:6379/0")
    return _database(segments[0] if segments else options.get("db", "0"))


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"the database of a Redis URL is a number from 0{_ENCODED}")
    return int(text)
