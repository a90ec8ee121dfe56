"""What values.schema.json says of `config`, made from the gateway's own settings.

    python -m tests.deploy.helm.config_schema

writes it into the file anew, as is needed after a setting came, went or changed; a test compares them.
"""

import json
import re
from pathlib import Path
from typing import Any

from gateway.config import Known, known_settings

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = ROOT / "deploy" / "helm" / "gateway" / "values.schema.json"

REQUIRED = {
    "server": ["drain_seconds", "graceful_timeout_seconds", "host", "max_body_bytes", "port", "workers"],
    "storage": ["pool_size"],
    "upstream": ["first_byte_seconds", "idle_seconds"],
}
"""Settings that templates read, so that their defaults stand in values.yaml and cannot be taken out."""
ELSEWHERE = ("storage.data_dir", "upstream.base_url", "upstream.models")
"""Settings that the chart makes itself, or for which it has a place of its own. Secrets are no part of the file either."""
OWN_VARIABLES = {
    "GATEWAY_ADMIN_TOKEN",
    "GATEWAY_CONFIG",
    "GATEWAY_DATABASE_URL",
    "GATEWAY_DATA_DIR",
    "GATEWAY_HOST",
    "GATEWAY_KEY_PEPPER",
    "GATEWAY_METRICS_TOKEN",
    "GATEWAY_MIGRATE_DATABASE_URL",
    "GATEWAY_REDIS_URL",
    "GATEWAY_STORAGE_PGBOUNCER",
}
"""Variables that the chart sets itself, which `extraEnv` must not."""
_ADDRESS = "an address such as"

_KINDS: dict[str, dict[str, Any]] = {
    "a size from": {"type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB|kB|KB|MB|GB)?$"},
    "true or false": {"type": "boolean"},
    _ADDRESS: {"type": "string", "pattern": "^https?://[^@\\s]+$"},
    "addresses and networks": {"type": ["string", "array"], "items": {"type": "string"}},
}


def is_secret(setting: Known) -> bool:
    """Whether a setting's value is for nobody to see. An address is only where it holds a password, which the schema refuses."""
    return bool(setting.env) and not setting.quotable and not setting.expects.startswith(_ADDRESS)


def in_config(setting: Known) -> bool:
    """Whether `config` takes a setting: neither a secret nor the file of one, and none that has another place."""
    return bool(setting.env) and not is_secret(setting) and not setting.key.endswith("_file") and setting.key not in ELSEWHERE


def config_schema() -> dict[str, Any]:
    """The JSON schema of `config`: tables and keys of gateway.toml, each with what it takes; anything else is refused."""
    tables: dict[str, dict[str, Any]] = {}
    for setting in filter(in_config, known_settings()):
        table, _, key = setting.key.partition(".")
        tables.setdefault(table, {})[key] = {"description": setting.description, **_kind(setting.expects)}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": sorted(REQUIRED),
        "properties": {
            table: {
                "type": "object",
                "additionalProperties": False,
                **({"required": REQUIRED[table]} if table in REQUIRED else {}),
                "properties": keys,
            }
            for table, keys in tables.items()
        },
    }


def _kind(expects: str) -> dict[str, Any]:
    """What a setting takes, from the words that the documentation has for it."""
    if found := re.fullmatch(r"a whole number from (\d+) to (\d+)", expects):
        return {"type": "integer", "minimum": int(found[1]), "maximum": int(found[2])}
    if found := re.fullmatch(r"a number from ([\d.]+) to ([\d.]+)", expects):
        return {"type": "number", "minimum": float(found[1]), "maximum": float(found[2])}
    if expects.startswith("one of "):
        return {"enum": expects.removeprefix("one of ").split(", ")}
    return next((kind for words, kind in _KINDS.items() if expects.startswith(words)), {"type": "string", "minLength": 1})


def variable_schema() -> list[dict[str, Any]]:
    """What holds of a variable of `extraEnv`: the chart's own are refused, and a secret comes from elsewhere."""
    secrets = sorted({setting.env for setting in known_settings() if is_secret(setting)} - OWN_VARIABLES)
    return [
        {"properties": {"name": {"not": {"enum": sorted(OWN_VARIABLES)}}}},
        {"if": {"properties": {"name": {"enum": secrets}}}, "then": {"required": ["valueFrom"], "properties": {"value": False}}},
    ]


def main() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["properties"]["config"] = config_schema()
    schema["properties"]["extraEnv"]["items"]["allOf"] = variable_schema()
    SCHEMA.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
