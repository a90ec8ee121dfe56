"""The kinds of values that settings have: how each is written in gateway.toml and in the environment, and what is refused.

Every setting is made by one of the functions below, which keep beside its default what the documentation and the messages need:
its environment name, its unit, and what it expects in words. A message never quotes a value that is or may hold a secret.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SecretStr
from pydantic.fields import FieldInfo

from gateway.domain.upstreams import ModelNames, read_base_url, read_models

_SIZE = re.compile(r"(\d+)\s*(|B|KiB|MiB|GiB|kB|KB|MB|GB)", re.ASCII)
_FACTORS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_DATABASES = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


class Table(BaseModel):
    """A table of gateway.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a setting besides its value. `env` is empty where the name follows from the key."""

    expects: str
    env: str = ""
    unit: str = ""
    quotable: bool = True
    shown_default: str | None = None


def _setting(default: object, description: str, about: About, **constraints: Any) -> Any:
    return Field(default=default, description=description, json_schema_extra=asdict(about), **constraints)


def about(info: FieldInfo) -> About:
    """What a setting's field carries."""
    extra: Any = info.json_schema_extra
    return About(**extra)


def whole(default: int | None, description: str, *, least: int, most: int, unit: str = "", env: str = "") -> Any:
    about = About(f"a whole number from {least} to {most}", env, unit)
    return _setting(default, description, about, ge=least, le=most)


def seconds(default: float, description: str, *, least: float = 0.1, most: float = 86_400) -> Any:
    about = About(f"a number from {least:g} to {most:g}", unit="seconds", shown_default=f"{default:g}")
    return _setting(float(default), description, about, ge=least, le=most)


def share(default: float, description: str) -> Any:
    about = About("a number from 0 to 1", shown_default=f"{default:g}")
    return _setting(float(default), description, about, ge=0, le=1)


def size(default: int, description: str, *, least: int, most: int) -> Any:
    about = About(
        f"a size from {shown_size(least)} to {shown_size(most)}, such as 33554432 or 32MiB",
        unit="bytes",
        shown_default=shown_size(default),
    )
    return _setting(default, description, about, ge=least, le=most)


def flag(default: bool, description: str) -> Any:
    return _setting(default, description, About("true or false", shown_default=str(default).lower()))


def choice(default: str, description: str, *choices: str) -> Any:
    return _setting(default, description, About("one of " + ", ".join(choices)))


def text(default: object, description: str, *, expects: str = "text", env: str = "", pattern: str | None = None) -> Any:
    """A text; `...` as its default makes it required."""
    return _setting(default, description, About(expects, env), min_length=1, pattern=pattern)


def path(default: str, description: str, *, env: str) -> Any:
    return _setting(Path(default), description, About("the path of a folder", env))


def file(description: str, usual: str = "", *, env: str = "") -> Any:
    shown = f"{usual} in the data folder" if usual else ""
    return _setting(None, description, About("the path of a file", env, shown_default=shown))


def secret(description: str, *, expects: str, env: str = "", shown_default: str = "") -> Any:
    return _setting(None, description, About(expects, env, quotable=False, shown_default=shown_default), min_length=1)


def address(description: str, *, required: bool = False) -> Any:
    expects = "an address such as https://models.example/v1, to which /chat/completions is appended"
    return _setting(... if required else None, description, About(expects, quotable=False))


def collector(description: str) -> Any:
    expects = "an address such as http://collector.example:4318, or with its whole path"
    return _setting(None, description, About(expects, quotable=False))


def public_address(description: str, *, env: str) -> Any:
    return _setting(None, description, About("an address without a path, such as https://gateway.example.com", env))


def networks(description: str) -> Any:
    expects = "addresses and networks separated by commas, such as 10.0.0.0/8,127.0.0.1"
    return _setting((), description, About(expects, shown_default=""))


def model_names(description: str) -> Any:
    expects = "names separated by commas, each a or a=name-over-there, or * for all that the upstream lists"
    return _setting(ModelNames(), description, About(expects, shown_default="*"))


def shown_size(count: int) -> str:
    """A size in bytes as people write it: `32MiB`."""
    for unit in ("GiB", "MiB", "KiB"):
        if count and count % _FACTORS[unit] == 0:
            return f"{count // _FACTORS[unit]}{unit}"
    return str(count)


def _whole(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value, re.ASCII):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError


def _seconds(value: object) -> float:
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", value, re.ASCII):
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError


def _size(value: object) -> int:
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        return int(found[1]) * _FACTORS[found[2]]
    return _whole(value)


def _flag(value: object) -> bool:
    named = {"true": True, "false": False}
    if isinstance(value, str) and value.strip().lower() in named:
        return named[value.strip().lower()]
    if isinstance(value, bool):
        return value
    raise ValueError


def _folder(value: object) -> object:
    if isinstance(value, str) and (not value.strip() or set(value) & {"?", "\0"}):
        raise ValueError("it is empty or has a question mark, which the address of the database file cannot hold")
    return value


def _file(value: object) -> object:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("it is empty")
    return value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _sendable(value: object) -> object:
    """A credential that a header can carry."""
    if isinstance(value, str) and not re.fullmatch(r"[!-~]+", value, re.ASCII):
        raise ValueError("it has blanks or characters outside ASCII, which no header can carry")
    return value


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("it is no text")


def _base_url(value: object) -> str:
    return read_base_url(_text(value))


def _origin(value: object) -> str:
    text = read_base_url(_text(value))
    if text.partition("://")[2].count("/"):
        raise ValueError("it has a path; give the address alone")
    return text.lower()


def database_url(value: object) -> str:
    """The URL of the database, with the driver the gateway uses. Raises ValueError, whose text quotes nothing of it."""
    scheme, separator, rest = _text(value).strip().partition("://")
    driver = _DATABASES.get(scheme)
    if not separator or driver is None:
        raise ValueError("it begins with none of sqlite:///, postgresql://")
    if driver.startswith("sqlite"):
        name = rest.partition("?")[0].removeprefix("/")
        if not rest.startswith("/") or not name or ":memory:" in rest or "mode=memory" in rest:
            raise ValueError("it names no file; a database in memory would forget every key")
    return f"{driver}://{rest}"


def redis_url(value: object) -> str:
    """The URL of Redis. Raises ValueError, whose text quotes nothing of it."""
    # What speaks to Redis takes longer to import than most commands take to run, and most gateways have no Redis.
    from gateway.storage.redis.address import Address  # noqa: PLC0415

    value = _text(value).strip()
    if not re.fullmatch(r"[!-~]*", value, re.ASCII):
        raise ValueError("it has blanks or characters outside ASCII, which are percent-encoded in a URL")
    Address.of(value)
    return value


def read_header_fields(text: str) -> dict[str, str]:
    """Header fields as `name=value,name=value`. Raises ValueError, whose text quotes nothing of it."""
    fields = {}
    for part in text.split(","):
        name, found, value = part.strip().partition("=")
        if not found or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name.strip()) or not re.fullmatch(r"[ -~]+", value):
            raise ValueError("it is no list of name=value, separated by commas, in characters that a header can carry")
        fields[name.strip().lower()] = value.strip()
    return fields


def _header_fields(value: object) -> str:
    text = _text(value)
    read_header_fields(text)
    return text


def _collector(value: object) -> str:
    address = read_base_url(_text(value))
    return address if address.partition("://")[2].count("/") else f"{address}/v1/traces"


def _networks(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        return tuple(str(ipaddress.ip_network(str(part).strip())) for part in parts)  # type: ignore[attr-defined]  # see below
    except (TypeError, ValueError):
        raise ValueError("it has an entry that is no address or network; a network's host part is zero") from None


Whole = Annotated[int, BeforeValidator(_whole)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Size = Annotated[int, BeforeValidator(_size)]
BaseUrl = Annotated[str, BeforeValidator(_base_url)]
Origin = Annotated[str, BeforeValidator(_origin)]
Share = Annotated[float, BeforeValidator(_seconds)]
CollectorUrl = Annotated[str, BeforeValidator(_collector)]
HeaderFields = Annotated[SecretStr, BeforeValidator(_header_fields)]
Networks = Annotated[tuple[str, ...], BeforeValidator(_networks)]
DatabaseUrl = Annotated[SecretStr, BeforeValidator(database_url)]
RedisUrl = Annotated[SecretStr, BeforeValidator(redis_url)]
Credential = Annotated[SecretStr, BeforeValidator(_sendable)]
Models = Annotated[ModelNames, BeforeValidator(read_models), PlainSerializer(str)]
Folder = Annotated[Path, BeforeValidator(_folder)]
File = Annotated[Path, BeforeValidator(_file)]
Lower = BeforeValidator(_lower)


def walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting below a model, by its key in gateway.toml; lists of tables are left out."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from walk(kind, f"{prefix}{name}.")
        elif info.json_schema_extra is not None:
            yield prefix + name, info
