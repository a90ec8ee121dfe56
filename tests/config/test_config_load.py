"""Settings: where they come from, which place counts, and what is said of wrong ones."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, Settings, find, known_settings, load, unknown_names, upstreams_of
from gateway.config_schema import UpstreamTable
from gateway.domain.upstreams import ModelNames

SECRET = "s3cret-of-this-test"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def problems(env: dict[str, str], path: Path | None = None) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(env, path)
    return [(each.source, each.problem, each.remedy) for each in caught.value.problems]


def test_defaults() -> None:
    """With nothing set, the gateway listens on 127.0.0.1:8080 with an SQLite file in the folder data."""
    settings = load({}, None)
    assert (settings.server.host, settings.server.port, settings.server.workers) == ("127.0.0.1", 8080, 1)
    assert settings.database_url == "sqlite+aiosqlite:///data/gateway.db"
    assert settings.embedded
    assert settings.database_file == Path("data/gateway.db")
    assert (settings.limits.default_rpm, settings.limits.default_tpm) == (None, None)
    assert upstreams_of(settings) == []


def test_option_before_environment_before_file(file: Path) -> None:
    """An option counts before the environment, the environment before the file, and the file before the default."""
    file.write_text("[server]\nport = 1\nhost = '::1'\n[limits]\nmax_waiting = 7\n")
    settings = load({"GATEWAY_PORT": "2", "GATEWAY_HOST": "0.0.0.0"}, file, options={"server.port": 3})
    assert (settings.server.port, settings.server.host, settings.limits.max_waiting) == (3, "0.0.0.0", 7)
    assert load({}, file).server.port == 1


@pytest.mark.parametrize("wrong", ["gateway.example.com", "https://x/path", "ftp://x", "https://u:p@x", "https://x?y"])
def test_public_address_is_an_origin(wrong: str) -> None:
    """The address that people reach the gateway at has a scheme and a host, and nothing behind it."""
    with pytest.raises(ConfigError, match="public_url"):
        load({"GATEWAY_PUBLIC_URL": wrong}, None)


def test_trusted_proxies_are_networks(file: Path) -> None:
    """Proxies are named as addresses or networks, in the file as a list; what is neither is told with its place."""
    file.write_text('[server]\ntrusted_proxies = ["10.0.0.0/8", "::1"]\n')
    assert load({}, file).server.trusted_proxies == ("10.0.0.0/8", "::1/128")
    with pytest.raises(ConfigError, match="trusted_proxies"):
        load({"GATEWAY_SERVER_TRUSTED_PROXIES": "10.0.0.1/8"}, None)


def test_public_address_has_no_slash_at_its_end() -> None:
    """A slash at the end of the public address is no path."""
    assert load({"GATEWAY_PUBLIC_URL": "https://Gateway.example/"}, None).server.public_url == "https://gateway.example"


def test_empty_variable_is_unset(file: Path) -> None:
    """A variable that is set to nothing, as compose files leave them, does not hide the file's value."""
    file.write_text("[server]\nport = 1\n")
    assert load({"GATEWAY_PORT": "", "GATEWAY_UPSTREAM_API_KEY": ""}, file).server.port == 1


def test_each_setting_can_come_from_the_environment_and_from_the_file(file: Path) -> None:
    """Each setting's key and environment name really set it, and set the same."""
    values = {
        "storage.database_url": "sqlite:///x.db",
        "upstream.base_url": "http://x/v1",
        "limits.reserve_output": "max",
        "log.level": "error",
        "log.format": "json",
        "log.calls": "true",
        "log.calls_sample": "0.5",
        "tracing.endpoint": "http://collector.example:4318",
        "tracing.sample": "0.25",
        "tracing.headers": "x-token=abc",
        "server.max_body_bytes": "2MiB",
        "server.max_body_bytes_total": "3MiB",
        "server.max_header_bytes": "128KiB",
        "limits.lease_seconds": "11",
        "ledger.strict": "true",
        "ledger.stream_max_entries": "5000",
        "limits.when_unavailable": "deny",
        "limits.redis_timeout_ms": "50",
        "storage.redis_url": "redis://h/1",
        "server.workers": "3",
        "server.public_url": "https://gateway.example",
        "server.trusted_proxies": "10.0.0.0/8, 127.0.0.1",
        "storage.migrate_database_url": "postgresql://owner@host/name",
        "storage.pgbouncer": "true",
        "storage.pool_size": "3",
        "metrics.allow_networks": "10.0.0.0/8",
        "metrics.top": "3",
    }
    needed = {
        "storage.migrate_database_url": {"GATEWAY_DATABASE_URL": "postgresql://h/n"},
        "server.max_body_bytes_total": {"GATEWAY_SERVER_MAX_BODY_BYTES": "1MiB"},
        "server.workers": {"GATEWAY_REDIS_URL": "redis://h", "GATEWAY_DATABASE_URL": "postgresql://h/d"},
    }
    texts = {
        "server.host",
        "storage.data_dir",
        "secrets.key_pepper",
        "secrets.admin_token",
        "upstream.api_key",
        "upstream.models",
    }
    for setting in known_settings():
        if not setting.env:
            continue
        value = values.get(setting.key, "abc" if setting.key in texts else "1")
        base = {} if setting.key == "upstream.base_url" else {"GATEWAY_UPSTREAM_BASE_URL": "http://y"}
        base |= needed.get(setting.key, {})
        table, _, name = setting.key.partition(".")
        file.write_text(f"[{table}]\n{name} = '{value}'\n")
        from_file = load(base, file)
        assert from_file == load({**base, setting.env: value}, None), setting.key
        assert from_file != load(base, None), setting.key


@pytest.mark.parametrize(
    ("text", "count"), [("1024", 1024), ("64KiB", 65536), ("2 MiB", 2 << 20), ("1GiB", 1 << 30), ("5MB", 5_000_000)]
)
def test_sizes(text: str, count: int) -> None:
    """A size is a number of bytes or carries its unit."""
    env = {"GATEWAY_SERVER_MAX_BODY_BYTES": text, "GATEWAY_SERVER_MAX_BODY_BYTES_TOTAL": "9GiB"}
    assert load(env, None).server.max_body_bytes == count


# The file, the line that is wrong, a part of the problem, a part of the remedy.
BAD_FILES = [
    pytest.param("[server\nport = 1\n", 1, "not valid TOML", "toml", id="syntax"),
    pytest.param("[server]\nport = 1\nport = 2\n", 3, "not valid TOML", "toml", id="twice"),
    pytest.param("[server]\nhost = 'x'\n[log]\nlevel = \"a\n", 4, "not valid TOML", "toml", id="open-text"),
    pytest.param("[server]\nprot = 1\n", 2, "no setting server.prot", "Did you mean server.port?", id="unknown-key"),
    pytest.param("port = 1\n", 1, "no setting port", "Did you mean server.port?", id="key-without-table"),
    pytest.param("\n[sever]\nport = 1\n", 2, "no setting sever", "Did you mean server?", id="unknown-table"),
    pytest.param("[server]\nzzzzzz = 1\n", 2, "no setting server.zzzzzz", "docs/settings.md", id="unknown-and-unlike"),
    pytest.param("[server]\n\nport = 70000\n", 3, "70000", "a whole number from 0 to 65535", id="range"),
    pytest.param("[server]\nport = 'http'\n", 2, "'http'", "the default is 8080", id="no-number"),
    pytest.param("[server]\nport = true\n", 2, "True", "a whole number", id="boolean"),
    pytest.param("[server]\nport = [1]\n", 2, "server.port cannot be used", "a whole number", id="list"),
    pytest.param("server = 3\n", 1, "server is no table", "[server]", id="no-table"),
    pytest.param("[server]\nmax_body_bytes = '3 potatoes'\n", 2, "3 potatoes", "32MiB", id="size"),
    pytest.param("[server]\nheader_timeout_seconds = nan\n", 2, "nan", "a number from", id="not-a-number"),
    pytest.param("[server]\nhost = ''\n", 2, "server.host is empty", "Set server.host", id="empty"),
    pytest.param("[log]\nlevel = 'loud'\n", 2, "'loud'", "debug, info, warning, error", id="choice"),
    pytest.param(
        "[storage]\ndatabase_url = 'mysql://u:s3cret@h/d'\n", 2, "sqlite:///, postgresql://", "sqlite:///", id="database"
    ),
    pytest.param("[storage]\ndatabase_url = 'sqlite://'\n", 2, "names no file", "sqlite:///", id="in-memory"),
    pytest.param("[storage]\nredis_url = 'http://:s3cret@h'\n", 2, "redis+cluster://", "redis+sentinel://", id="redis"),
    pytest.param("[server]\nworkers = 4\n", 2, "need Redis", "GATEWAY_WORKERS (server.workers) to 1", id="workers"),
    pytest.param(
        "[server]\nworkers = 4\n[storage]\nredis_url = 'redis://h'\n", 2, "need PostgreSQL", "storage.database_url", id="sqlite"
    ),
    pytest.param(
        "[server]\nworkers = 4\n[storage]\ndatabase_url='postgres://h/d'\n",
        2,
        "need Redis",
        "storage.redis_url",
        id="no-redis",
    ),
    pytest.param("[server]\nmax_body_bytes_total = '1MiB'\n", 2, "below server.max_body_bytes", "Raise", id="sizes-conflict"),
    pytest.param("[upstream]\nbase_url = 'models.example'\n", 2, "http:// or https://", "https://models.example/v1", id="no-url"),
    pytest.param("[upstream]\nbase_url = 'http://u:s3cret@h/v1'\n", 2, "user name or password", "/v1", id="url-credential"),
    pytest.param("[upstream]\nbase_url = 'http://h/v1/chat/completions'\n", 2, "one endpoint", "appended", id="url-endpoint"),
    pytest.param("[upstream]\nbase_url = 'http://h/v1?x=1'\n", 2, "query", "appended", id="url-query"),
    pytest.param("[upstream]\napi_key = 'x'\n", 2, "no upstream.base_url", "GATEWAY_UPSTREAM_BASE_URL", id="key-alone"),
    pytest.param("[upstream]\nbase_url = 'http://h'\napi_key = 'a s3cret'\n", 3, "blanks", "without blanks", id="key-blank"),
    pytest.param("[upstream]\nbase_url = 'http://h'\nmodels = 'a,a'\n", 3, "twice", "commas", id="model-twice"),
    pytest.param("[upstream]\nbase_url = 'http://h'\nmodels = ['a b']\n", 3, "no model name", "commas", id="model-name"),
    pytest.param("[upstream]\nbase_url = 'http://h'\nmodels = 3\n", 3, "no list of names", "commas", id="models-number"),
    pytest.param("[upstreams]\nname = 'a'\n", 1, "no list of tables", "[[upstreams]]", id="one-bracket"),
    pytest.param("[[upstreams]]\nname = 'a'\n", 1, "base_url is missing", "Add base_url", id="missing"),
    pytest.param("[[upstreams]]\nname = 'a b'\nbase_url = 'http://h'\n", 2, "'a b'", "letters", id="upstream-name"),
    pytest.param(
        "[[upstreams]]\nname='a'\nbase_url='http://h'\nwait=1\n", 4, "no setting upstreams.0.wait", "weight", id="unknown-in-list"
    ),
    pytest.param(
        "[[upstreams]]\nname = 'a'\nbase_url = 'http://h'\n[[upstreams]]\nname = 'a'\nbase_url = 'http://i'\n",
        5,
        "two upstreams are called a",
        "name of its own",
        id="same-name",
    ),
    pytest.param(
        "[[upstreams]]\nname='a'\nbase_url='http://h'\nweight = 1\n\n[[upstreams]]\nname='b'\nbase_url='http://i'\nweight = 0\n",
        9,
        "upstreams.1.weight is 0",
        "a whole number from 1",
        id="second-of-list",
    ),
    pytest.param(
        "[[upstreams]]\nname = 'a'\nbase_url = 'http://h'\napi_key_env = 'NOT_SET'\n",
        4,
        "NOT_SET is not set",
        "Set NOT_SET",
        id="env-unset",
    ),
    pytest.param(
        "[[upstreams]]\nname='a'\nbase_url='http://h'\napi_key='s3cret'\napi_key_env='X'\n",
        5,
        "api_key and api_key_env",
        "Leave out",
        id="both",
    ),
    pytest.param('[log]\n# """\nlevel = "loud"\n', 3, "'loud'", "debug", id="quotes-in-comment"),
]


@pytest.mark.parametrize(("content", "line", "problem", "remedy"), BAD_FILES)
def test_bad_file(file: Path, content: str, line: int, problem: str, remedy: str) -> None:
    """Each kind of mistake in the file is told with its line and a remedy, as the only one, without showing a secret."""
    file.write_text(content)
    found = problems({}, file)
    assert [source for source, _, _ in found] == [f"{file}:{line}"]
    assert problem in found[0][1]
    assert remedy in found[0][2]
    assert "s3cret" not in str(found)


BAD_VARIABLES = [
    ({"GATEWAY_PORT": "http"}, "GATEWAY_PORT", "'http'"),
    ({"GATEWAY_WORKERS": "4"}, "GATEWAY_WORKERS", "need Redis"),
    *(
        ({"GATEWAY_REDIS_URL": url}, "GATEWAY_REDIS_URL", problem)
        for url, problem in (
            ("s3cret", "redis://, rediss://, unix://"),
            ("redis://:s3cret@h:port", "a port from 1 to 65535"),
            ("redis://:s3cret@h:0", "a port"),
            ("redis://:s3cret@", "names a host"),
            ("redis://:s3cret/and@h", "%2F"),
            ("redis://:9/s3cret@h", "%2F"),
            ("redis://:9?s3cret=@h", "%2F"),
            ("redis://h?s3cret=1", "not known"),
            ("redis://:s3#cret@h", "%23"),
            ("redis://:s3cret @h", "blanks"),
            ("redis://:s3cret@h,i", "one host"),
            ("redis://:s3cret@h/x", "number from 0"),
            ("redis+cluster://:s3cret@h,i/1", "only database 0"),
            ("redis+sentinel://:s3cret@h,i", "names the master"),
            ("unix://:s3cret@socket", "absolute path"),
        )
    ),
    ({"GATEWAY_DATABASE_URL": "s3cret"}, "GATEWAY_DATABASE_URL", "cannot be used"),
    ({"GATEWAY_DEFAULT_RPM": "0"}, "GATEWAY_DEFAULT_RPM", "'0'"),
    ({"GATEWAY_ADMIN_TOKEN": "a s3cret"}, "GATEWAY_ADMIN_TOKEN", "blanks"),
    ({"GATEWAY_DATA_DIR": "what?"}, "GATEWAY_DATA_DIR", "question mark"),
    ({"GATEWAY_UPSTREAM_MODELS": "a"}, "GATEWAY_UPSTREAM_MODELS", "no upstream.base_url"),
]


@pytest.mark.parametrize(("env", "source", "problem"), BAD_VARIABLES)
def test_bad_variable(env: dict[str, str], source: str, problem: str) -> None:
    """A mistake in the environment is told with the variable's name, without showing a secret."""
    found = problems(env)
    assert [each[0] for each in found] == [source]
    assert problem in found[0][1]
    assert "s3cret" not in str(found)


def test_all_problems_at_once(file: Path) -> None:
    """Everything that is wrong is told together, the file's problems by line: nobody mends one and meets the next."""
    file.write_text("[server]\nworkers = 2\nport = -1\n[nothing]\nx = 1\n[log]\nlevel = 3\n")
    found = problems({"GATEWAY_DEFAULT_TPM": "x"}, file)
    assert [source for source, _, _ in found] == [*(f"{file}:{line}" for line in (2, 3, 4, 7)), "GATEWAY_DEFAULT_TPM"]


def test_a_broken_file_does_not_hide_the_environment(file: Path) -> None:
    """Of a file that cannot be parsed, and a wrong variable, both are told."""
    file.write_text("[")
    assert [source for source, _, _ in problems({"GATEWAY_PORT": "x"}, file)] == [f"{file}:1", "GATEWAY_PORT"]


def test_line_numbers_pass_over_long_texts(file: Path) -> None:
    """What looks like a key inside a text of several lines is not taken for one."""
    file.write_text('[storage]\ndata_dir = """\n[server]\nport = 1\n"""\n[server]\nport = -1\n')
    assert problems({}, file)[0][0] == f"{file}:7"


@pytest.mark.parametrize(("content", "line"), [(b"[server]\nhost = '\xff'\n", 2), (b"\n\n\xc3", 3)])
def test_not_utf8(file: Path, content: bytes, line: int) -> None:
    """A file in another encoding is told with the line of its first wrong byte."""
    file.write_bytes(content)
    assert problems({}, file) == [(f"{file}:{line}", "the line is not UTF-8", "Save the file as UTF-8.")]


def test_missing_file(tmp_path: Path) -> None:
    """A file that GATEWAY_CONFIG names must exist; a typing error there must not mean defaults."""
    found = problems({}, tmp_path / "nowhere.toml")
    assert found[0][0] == "GATEWAY_CONFIG"
    assert "nowhere.toml" in found[0][1]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """What cannot be read as a file is told, not raised."""
    assert problems({}, tmp_path)[0][0] == "GATEWAY_CONFIG"


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GATEWAY_CONFIG names the file; else gateway.toml of the working folder is read, if it is there."""
    monkeypatch.chdir(tmp_path)
    assert find({}) is None
    (tmp_path / "gateway.toml").touch()
    assert find({}) == Path("gateway.toml")
    assert find({"GATEWAY_CONFIG": "/etc/other.toml"}) == Path("/etc/other.toml")


def test_unknown_variables_are_warned_of() -> None:
    """A mistyped variable, which nothing would read, is pointed out with the right name."""
    found = unknown_names({"GATEWAY_PROT": "1", "GATEWAY_PORT": "1", "GATEWAY_URL": "x", "GATEWAY_CONFIG": "y", "PATH": "z"})
    assert [(each.source, each.remedy) for each in found] == [("GATEWAY_PROT", "Did you mean GATEWAY_PORT?")]


def test_secrets_show_nowhere() -> None:
    """No secret is in any repr or dump of the settings, the upstreams made of them included."""
    names = ("KEY_PEPPER", "ADMIN_TOKEN", "UPSTREAM_API_KEY")
    env = {f"GATEWAY_{name}": SECRET for name in names}
    env |= {"GATEWAY_UPSTREAM_BASE_URL": "http://h", "GATEWAY_DATABASE_URL": f"postgresql://u:{SECRET}@h/d"}
    settings = load(env, None)
    assert settings.secrets.admin_token is not None
    assert settings.secrets.admin_token.get_secret_value() == SECRET
    shown = [repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json(), repr(upstreams_of(settings))]
    assert not any(SECRET in each for each in shown)
    assert upstreams_of(settings)[0].api_key == SECRET


def test_upstreams(file: Path) -> None:
    """The upstream of the environment and those of the file are all served, with their models, credentials and weights."""
    file.write_text(
        "[[upstreams]]\nname = 'one'\nbase_url = 'http://one/v1/'\nmodels = ['a', 'b=c']\nweight = 2\napi_key_env = 'ONE'\n"
        "[[upstreams]]\nname = 'two'\nbase_url = 'http://two'\nmodels = {d = 'e'}\n"
    )
    env = {"GATEWAY_UPSTREAM_BASE_URL": "https://x/v1", "GATEWAY_UPSTREAM_MODELS": "m, p=q ,*", "ONE": "key-of-one"}
    first, one, two = upstreams_of(load(env, file))
    assert (first.name, first.base_url, first.models, first.lists_models) == (
        "default",
        "https://x/v1",
        {"m": "m", "p": "q"},
        True,
    )
    assert (one.base_url, one.api_key, one.weight, one.models, one.lists_models) == (
        "http://one/v1",
        "key-of-one",
        2,
        {"a": "a", "b": "c"},
        False,
    )
    assert two.models == {"d": "e"}
    assert {each.source for each in (first, one, two)} == {"config"}
    assert len({each.id for each in (first, one, two)}) == 3


def test_an_upstream_lists_its_models_unless_told_otherwise() -> None:
    """With only an address set, an upstream serves whatever it lists."""
    (upstream,) = upstreams_of(load({"GATEWAY_UPSTREAM_BASE_URL": "http://x"}, None))
    assert upstream.lists_models
    assert not upstream.models


def test_the_upstream_of_the_environment_has_a_name_of_its_own(file: Path) -> None:
    """An upstream of the file cannot take the name of the environment's."""
    file.write_text("[[upstreams]]\nname = 'default'\nbase_url = 'http://one'\n")
    assert len(upstreams_of(load({}, file))) == 1
    assert "two upstreams" in problems({"GATEWAY_UPSTREAM_BASE_URL": "http://x"}, file)[0][1]


def test_settings_are_immutable() -> None:
    """Nothing can change a setting once the gateway runs."""
    settings = load({}, None)
    with pytest.raises(ValueError, match="frozen"):
        settings.server.port = 1


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://:word@h:6379/1",
        "rediss://eve:wor%2Fd@[::1]:6379?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1",
        "redis+sentinel://h:26379,i:26379/mymaster/0",
        "rediss+sentinel://:word@h/mymaster?sentinel_password=other",
        "redis+cluster://h:7000,i:7000",
        "rediss+cluster://eve:word@h",
    ],
)
def test_redis_urls(url: str) -> None:
    """Each form of a Redis URL is taken, also beside the embedded database, and shows in no dump."""
    settings = load({"GATEWAY_REDIS_URL": f" {url} "}, None)
    assert settings.storage.redis_url is not None
    assert settings.storage.redis_url.get_secret_value() == url
    assert settings.embedded
    assert url not in f"{settings!r} {settings.model_dump_json()}"


def test_workers_need_redis_and_a_database_server() -> None:
    """Several workers are taken with both, and what is missing is told as one problem."""
    both = {"GATEWAY_REDIS_URL": "redis://h", "GATEWAY_DATABASE_URL": "postgresql://h/d"}
    assert load({"GATEWAY_WORKERS": "4", **both}, None).server.workers == 4
    ((_, problem, remedy),) = problems({"GATEWAY_WORKERS": "4"})
    assert "Redis" in problem
    assert "PostgreSQL" in problem
    assert all(name in remedy for name in both)


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("sqlite:///some/file.db", "sqlite+aiosqlite:///some/file.db"),
        ("sqlite:////some/file.db", "sqlite+aiosqlite:////some/file.db"),
        ("postgres://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u@h/d?ssl=require", "postgresql+asyncpg://u@h/d?ssl=require"),
    ],
)
def test_database_urls(url: str, used: str) -> None:
    """The usual forms of a database's URL are taken, and get the driver that the gateway uses."""
    settings = load({"GATEWAY_DATABASE_URL": url}, None)
    assert settings.database_url == used
    assert settings.embedded == url.startswith("sqlite")


def test_model_names_read_back() -> None:
    """What is shown of model names can be set again."""
    names = ModelNames({"a": "a", "b": "c"}, lists=True)
    settings = load({"GATEWAY_UPSTREAM_BASE_URL": "http://h", "GATEWAY_UPSTREAM_MODELS": str(names)}, None)
    assert settings.upstream.models == names


def test_every_table_is_known() -> None:
    """Each field of each table is listed among the settings, from which documentation and messages are made."""
    listed = {setting.key for setting in known_settings()}
    for table, info in Settings.model_fields.items():
        kind = UpstreamTable if table == "upstreams" else info.annotation
        assert kind is not None
        assert {f"{table}.{name}" for name in kind.model_fields} <= listed


def test_migrations_of_another_database(file: Path) -> None:
    """An address for migrations goes with a PostgreSQL database alone; it is a secret, and that of the database where unset."""
    given = {"GATEWAY_MIGRATE_DATABASE_URL": f"postgres://owner:{SECRET}@host/name"}
    ((source, problem, remedy),) = problems(given)
    assert (source, problem) == (
        "GATEWAY_MIGRATE_DATABASE_URL",
        "storage.migrate_database_url is set, but the database is a file",
    )
    assert "GATEWAY_DATABASE_URL" in remedy
    settings = load(given | {"GATEWAY_DATABASE_URL": "postgres://host/name"}, None)
    assert settings.migrate_database_url == f"postgresql+asyncpg://owner:{SECRET}@host/name"
    assert SECRET not in repr(settings)
    settings = load({"GATEWAY_DATABASE_URL": "postgres://host/name", "GATEWAY_STORAGE_PGBOUNCER": "True"}, None)
    assert settings.migrate_database_url == settings.database_url
    assert settings.database_options["pgbouncer"] is True


@pytest.mark.parametrize("value", ["yes", "1", "on", "truth"])
def test_a_switch_takes_true_and_false_alone(value: str) -> None:
    """A switch that is set to anything else is refused, with what it takes."""
    ((_, problem, remedy),) = problems({"GATEWAY_STORAGE_PGBOUNCER": value})
    assert problem == f"storage.pgbouncer is '{value}', which is not true or false"
    assert "true or false; the default is false" in remedy
