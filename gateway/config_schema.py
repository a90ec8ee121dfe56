"""What there is to set: the tables of gateway.toml, each setting with its default, its unit and its environment name."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from pydantic import BaseModel

from gateway.config_metrics import MetricsTable
from gateway.config_observing import Log, Tracing
from gateway.config_values import (
    BaseUrl,
    Credential,
    DatabaseUrl,
    File,
    Flag,
    Folder,
    Lower,
    Models,
    Networks,
    Origin,
    RedisUrl,
    Seconds,
    Size,
    Table,
    Whole,
    about,
    address,
    choice,
    file,
    flag,
    model_names,
    networks,
    path,
    public_address,
    seconds,
    secret,
    size,
    text,
    walk,
    whole,
)
from gateway.domain.grants import MAX_LIMIT
from gateway.domain.upstreams import Upstream

MIB = 1 << 20
DATABASE_FILE = "gateway.db"
FIRST_UPSTREAM = "default"
"""The name of the upstream of `[upstream]`."""
PREFIX = "GATEWAY_"


class Server(Table):
    """How the gateway listens, and what it takes from clients."""

    host: str = text("127.0.0.1", "The address to listen on; `0.0.0.0` for all.", env="GATEWAY_HOST")
    port: Whole = whole(8080, "The port to listen on; 0 takes a free one.", least=0, most=65535, env="GATEWAY_PORT")
    public_url: Origin | None = public_address(
        "Where clients and browsers reach the gateway, if not where it listens: shown in snippets and one-time links. Over "
        "`https://` the console's cookies are marked Secure.",
        env="GATEWAY_PUBLIC_URL",
    )
    trusted_proxies: Networks = networks(
        "Proxies that are believed when `X-Forwarded-For` says whom they were asked by: for the audit trail, attempts to sign in "
        "and `/metrics`."
    )
    workers: Whole = whole(1, "Worker processes. Several need Redis and PostgreSQL.", least=1, most=256, env="GATEWAY_WORKERS")
    max_body_bytes: Size = size(32 * MIB, "The largest request body; a larger one is answered 413.", least=1024, most=1 << 30)
    max_body_bytes_total: Size = size(
        512 * MIB, "All request bodies together that a process holds; beyond, 503.", least=1024, most=1 << 40
    )
    max_header_bytes: Size = size(
        64 << 10, "The largest request line and headers; larger ones are answered 431.", least=1024, most=MIB
    )
    header_timeout_seconds: Seconds = seconds(10, "How long a client may take to send its headers; then 408.")
    body_timeout_seconds: Seconds = seconds(120, "How long a client may take to send its body; then 408.")
    write_timeout_seconds: Seconds = seconds(
        120, "How long a client may take nothing of its reply; then its connection is closed, and the call upstream with it."
    )
    keep_alive_seconds: Whole = whole(
        75, "How long a connection without a request is kept open.", least=1, most=86_400, unit="seconds"
    )
    graceful_timeout_seconds: Whole = whole(
        30, "How long calls under way may go on once the gateway is told to stop.", least=0, most=86_400, unit="seconds"
    )
    drain_seconds: Seconds = seconds(
        0,
        "How long new calls are still taken once the gateway is told to stop, while `/readyz` sends load balancers away.",
        least=0,
    )


class Storage(Table):
    """Where the gateway keeps what it must not forget."""

    data_dir: Folder = path("data", "The data folder: database file, generated secrets, lock.", env="GATEWAY_DATA_DIR")
    database_url: DatabaseUrl | None = secret(
        "The database: `sqlite:///file` or `postgresql://user:password@host/name`.",
        expects="a URL such as sqlite:///data/gateway.db or postgresql://user:password@host/name",
        env="GATEWAY_DATABASE_URL",
        shown_default=f"{DATABASE_FILE} in the data folder",
    )
    migrate_database_url: DatabaseUrl | None = secret(
        "Where `gateway migrate` finds the database, if not at `database_url`: past a PgBouncer, or as the owner of the tables.",
        expects="a URL such as postgresql://owner:password@host/name",
        env="GATEWAY_MIGRATE_DATABASE_URL",
        shown_default="database_url",
    )
    pgbouncer: Flag = flag(
        False, "Whether `database_url` is a PgBouncer in transaction mode; then nothing is prepared or kept in a session."
    )
    pool_size: Whole = whole(10, "Connections to PostgreSQL that a process has at most.", least=2, most=1000)
    connect_seconds: Seconds = seconds(5, "How long connecting to PostgreSQL, or waiting for a free connection, may take.")
    statement_seconds: Seconds = seconds(10, "How long a statement may take on PostgreSQL; migrations are not bounded.")
    redis_url: RedisUrl | None = secret(
        "Redis, where several processes share limits and revocations: a server, a Cluster, or servers under Sentinel. "
        "`rediss://`, `rediss+cluster://` and `rediss+sentinel://` are the same with TLS.",
        expects="redis://user:password@host:6379/0, unix:///path/to/socket, redis+cluster://host:port,host:port "
        "or redis+sentinel://host:port,host:port/master-name/0",
        env="GATEWAY_REDIS_URL",
    )


class SecretsTable(Table):
    """Secrets that are made once, in a file, when they are not set."""

    key_pepper: Credential | None = secret(
        "What API keys are digested with. With another pepper no key works any more, so the gateway refuses to start.",
        expects="a long random text without blanks",
        env="GATEWAY_KEY_PEPPER",
        shown_default="made once, in key_pepper_file",
    )
    key_pepper_file: File | None = file("Where it is read from, or made.", "key-pepper", env="GATEWAY_KEY_PEPPER_FILE")
    admin_token: Credential | None = secret(
        "The bearer token of the admin API.",
        expects="a long random text without blanks",
        env="GATEWAY_ADMIN_TOKEN",
        shown_default="made once, in admin_token_file",
    )
    admin_token_file: File | None = file("Where it is read from, or made.", "admin-token", env="GATEWAY_ADMIN_TOKEN_FILE")


class UpstreamDefaults(Table):
    """One upstream, for the common case, and what holds for all of them."""

    base_url: BaseUrl | None = address(
        "The model server. Unset, and with no other upstream, a built-in demo upstream is started."
    )
    api_key: Credential | None = secret("Its credential, sent as a bearer token.", expects="a text without blanks")
    models: Models = model_names("The models it serves; `*` is what it lists itself; `public=own` where it uses another name.")
    connect_seconds: Seconds = seconds(5, "How long connecting to an upstream may take.")
    first_byte_seconds: Seconds = seconds(300, "How long an upstream may take until its reply begins.")
    idle_seconds: Seconds = seconds(120, "How long an upstream may be silent in the middle of a reply.")
    max_connections: Whole = whole(1000, "Connections to upstreams that are open at once.", least=1, most=100_000)


class UpstreamTable(Table):
    """One of several upstreams, each a table `[[upstreams]]`."""

    name: str = text(
        ...,
        "What it is called; each name once.",
        expects="up to 40 letters, digits, dots, hyphens and underscores",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$",
    )
    base_url: BaseUrl = address("The model server.", required=True)
    api_key: Credential | None = secret("Its credential, sent as a bearer token.", expects="a text without blanks")
    api_key_env: str | None = text(None, "The environment variable that holds the credential, instead of `api_key`.")
    models: Models = model_names("As `upstream.models`.")
    weight: Whole = whole(1, "Its share of the calls of a model that several upstreams serve.", least=1, most=1000)


class Limits(Table):
    """Rate limits and quotas."""

    default_rpm: Whole | None = whole(
        None,
        "Requests a minute that an account may send to a model which has no limits of its own; unset, no limit.",
        least=1,
        most=MAX_LIMIT,
        unit="requests a minute",
        env="GATEWAY_DEFAULT_RPM",
    )
    default_tpm: Whole | None = whole(
        None, "The same for tokens.", least=1, most=MAX_LIMIT, unit="tokens a minute", env="GATEWAY_DEFAULT_TPM"
    )
    account_concurrency: Whole | None = whole(
        None, "Calls of one model that an account may have open at once; unset, no limit.", least=1, most=1_000_000, unit="calls"
    )
    workspace_concurrency: Whole | None = whole(None, "The same for a sub-workspace.", least=1, most=1_000_000, unit="calls")
    key_concurrency: Whole | None = whole(
        None, "Calls that an API key may have open at once, of all models together.", least=1, most=1_000_000, unit="calls"
    )
    keys_per_workspace: Whole = whole(20, "API keys that a workspace may have.", least=1, most=100_000)
    workspaces_per_account: Whole = whole(20, "Workspaces that an account may have.", least=1, most=100_000)
    reserve_output: Annotated[Literal["none", "expected", "max"], Lower] = choice(
        "expected",
        "What is reserved for a call's output until its usage is known: nothing, the running mean, or all it may ask for.",
        "none",
        "expected",
        "max",
    )
    when_unavailable: Annotated[Literal["local", "deny", "allow"], Lower] = choice(
        "local",
        "While Redis cannot be reached: each process enforces its share of every limit by itself, or calls are answered 503, or "
        "no limit is enforced. Revoked keys are refused in each case.",
        "local",
        "deny",
        "allow",
    )
    redis_timeout_ms: Whole = whole(
        100, "How long Redis may take to decide on calls before it counts as away.", least=5, most=10_000, unit="milliseconds"
    )
    max_wait_seconds: Seconds = seconds(120, "The longest wait that `X-DashScope-Wait-Timeout` can ask for.", least=0)
    max_waiting: Whole = whole(100, "Calls that may wait in a process at once; 0 turns waiting off.", least=0, most=100_000)
    lease_seconds: Seconds = seconds(600, "How long a reservation lives when nothing renews it.", least=10)
    failover_hold_seconds: Seconds = seconds(
        10,
        "How long changes are not acknowledged after Redis failed over to a replica: at least its `min-replicas-max-lag`.",
        least=0,
        most=300,
    )


class Cache(Table):
    """The in-process cache of API keys."""

    max_keys: Whole = whole(100_000, "Keys that a process remembers, known and unknown ones each.", least=1, most=10_000_000)
    miss_seconds: Seconds = seconds(5, "How long an unknown key is remembered as such.", least=0, most=3600)


class Ledger(Table):
    """The record of metered calls."""

    retention_days: Whole = whole(
        90,
        "How long the row of a call is kept; 0 keeps all. Hourly sums are kept for ever.",
        least=0,
        most=36_500,
        unit="days",
    )
    strict: Flag = flag(False, "A reply ends only after its entry in the ledger is acknowledged, so that none is ever missing.")
    streams: Whole = whole(
        16,
        "Redis streams that entries go through. More at any time; fewer only once the streams are empty.",
        least=1,
        most=1024,
    )
    stream_max_entries: Whole = whole(
        1_000_000,
        "How long a stream may grow before an alarm is raised and entries go straight to the database.",
        least=1000,
        most=1_000_000_000,
        unit="stream entries",
    )


class Console(Table):
    """People who sign in to the console, and what it points out to them."""

    session_idle_hours: Whole = whole(12, "A session ends so long after it was last used.", least=1, most=8760, unit="hours")
    session_days: Whole = whole(30, "A session ends so long after it began, whatever is done.", least=1, most=3650, unit="days")
    invitation_days: Whole = whole(7, "How long an invitation can be used.", least=1, most=365, unit="days")
    reset_link_hours: Whole = whole(24, "How long a link to a new password can be used.", least=1, most=720, unit="hours")
    rotate_after_days: Whole = whole(
        90, "From which age on an API key is pointed out as due for rotation; 0 is never.", least=0, most=36_500, unit="days"
    )
    unused_after_days: Whole = whole(
        30, "How long an API key is not used before that is pointed out; 0 is never.", least=0, most=36_500, unit="days"
    )


class DatabaseOptions(TypedDict):
    """How PostgreSQL is spoken to; a file of SQLite has no use for any."""

    pool_size: int
    connect_seconds: float
    statement_seconds: float
    pgbouncer: bool


class Settings(Table):
    """All settings, in the tables of gateway.toml. Immutable; secrets show in no `repr` and no dump."""

    server: Server = Server()
    storage: Storage = Storage()
    secrets: SecretsTable = SecretsTable()
    upstream: UpstreamDefaults = UpstreamDefaults()
    limits: Limits = Limits()
    cache: Cache = Cache()
    ledger: Ledger = Ledger()
    console: Console = Console()
    metrics: MetricsTable = MetricsTable()
    log: Log = Log()
    tracing: Tracing = Tracing()
    upstreams: tuple[UpstreamTable, ...] = ()

    @property
    def database_url(self) -> str:
        """The database's URL with its driver, such as `sqlite+aiosqlite:///data/gateway.db`. May hold a password."""
        if self.storage.database_url is not None:
            return self.storage.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.storage.data_dir / DATABASE_FILE}"

    @property
    def migrate_database_url(self) -> str:
        """The URL that migrations use. May hold a password."""
        given = self.storage.migrate_database_url
        return self.database_url if given is None else given.get_secret_value()

    @property
    def database_options(self) -> DatabaseOptions:
        storage = self.storage
        return DatabaseOptions(
            pool_size=storage.pool_size,
            connect_seconds=storage.connect_seconds,
            statement_seconds=storage.statement_seconds,
            pgbouncer=storage.pgbouncer,
        )

    @property
    def database_file(self) -> Path | None:
        """The file of the embedded database; None for any other."""
        path = self.database_url.partition(":///")[2].partition("?")[0]
        return Path(path) if self.embedded else None

    @property
    def embedded(self) -> bool:
        """Whether the database is a file of this process: the embedded profile."""
        return self.database_url.startswith("sqlite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The secrets in use, set or made: the admin token, the pepper of the keys' digests, and the token for metrics
    if there is one. `repr` shows none."""

    admin_token: str = field(repr=False)
    key_pepper: bytes = field(repr=False)
    metrics_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Known:
    """A setting as the documentation names it; `env` is empty for the keys of `[[upstreams]]`."""

    key: str
    env: str
    default: str
    unit: str
    description: str
    expects: str
    quotable: bool


def known_settings() -> list[Known]:
    """Every setting, in the order of the tables; the keys of `[[upstreams]]` stand last, as `upstreams.name` and so on."""
    return [*_walked(Settings, ""), *_walked(UpstreamTable, "upstreams.")]


def _walked(model: type[BaseModel], prefix: str) -> Iterator[Known]:
    for key, info in walk(model, prefix):
        told = about(info)
        default = told.shown_default
        if default is None:
            default = "required" if info.is_required() else "" if info.default is None else f"{info.default}"
        env = "" if prefix else told.env or PREFIX + key.upper().replace(".", "_")
        yield Known(key, env, default, told.unit, info.description or "", told.expects, told.quotable)


def upstreams_of(settings: Settings) -> list[Upstream]:
    """The upstreams that the settings name, that of `[upstream]` first; none if there are none."""
    found = []
    if settings.upstream.base_url is not None:
        one = UpstreamTable(
            name=FIRST_UPSTREAM,
            base_url=settings.upstream.base_url,
            api_key=settings.upstream.api_key,
            models=settings.upstream.models,
        )
        found.append(one)
    return [
        Upstream(
            id=f"config-{one.name}",
            name=one.name,
            base_url=one.base_url,
            api_key=None if one.api_key is None else one.api_key.get_secret_value(),
            models=dict(one.models.names),
            lists_models=one.models.lists,
            weight=one.weight,
            source="config",
        )
        for one in [*found, *settings.upstreams]
    ]
