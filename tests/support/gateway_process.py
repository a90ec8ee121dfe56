"""The real gateway as a child process, started as its users start it, with a data folder of its own."""

import os
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2

from tests.support.processes import ROOT, ChildProcess, free_port

ADMIN_TOKEN = "admin-token-of-the-tests"
KEY_PEPPER = "key-pepper-of-the-tests"
_NOT_YET = (httpx2.TransportError,)

Json = dict[str, Any]


class GatewayProcess(ChildProcess):
    """A running `gateway serve`, ready for calls once constructed.

    Without `upstream` it starts its built-in demo upstream. Its secrets are the tests' own, or, with `own_secrets`, those that
    it makes itself in the data folder. A second one on the same `data_dir` is a restart. `base_url` is what an OpenAI client
    takes, `address` the server's root.
    """

    def __init__(
        self, data_dir: Path, *, upstream: str | None = None, own_secrets: bool = False, env: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.base_url = f"{self.address}/compatible-mode/v1"
        data_dir.mkdir(mode=0o700, exist_ok=True)
        super().__init__(
            [sys.executable, "-m", "gateway", "serve"], env=self._environment(upstream, own_secrets, env), cwd=data_dir
        )
        self._client = httpx2.Client(base_url=self.address, timeout=30)
        try:
            self.wait_until(self.is_ready, "the gateway is ready")
        except AssertionError:
            self.close()
            raise
        self.admin_token = (data_dir / "admin-token").read_text().strip() if own_secrets else ADMIN_TOKEN

    def _environment(self, upstream: str | None, own_secrets: bool, env: Mapping[str, str] | None) -> dict[str, str]:
        # Nothing of the developer's own settings may reach the process under test, and no proxy stand between.
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_") and "proxy" not in name.lower()
        }
        kept |= {
            "PYTHONPATH": str(ROOT),
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_DATA_DIR": str(self.data_dir),
        }
        if not own_secrets:
            kept |= {"GATEWAY_ADMIN_TOKEN": ADMIN_TOKEN, "GATEWAY_KEY_PEPPER": KEY_PEPPER}
        if upstream is not None:
            kept |= {"GATEWAY_UPSTREAM_BASE_URL": upstream, "GATEWAY_UPSTREAM_MODELS": "*"}
        return kept | dict(env or {})

    def is_ready(self) -> bool:
        try:
            return self._client.get("/readyz").status_code == 200
        except _NOT_YET:
            return False

    def get(self, path: str) -> httpx2.Response:
        return self._client.get(path)

    def admin(self, method: str, path: str, json: Json | None = None) -> Any:
        """The answer of the admin API at `path` (below `/admin/v1`); None for 204. Raises AssertionError for a refusal."""
        headers = {"authorization": f"Bearer {self.admin_token}"}
        response = self._client.request(method, f"/admin/v1{path}", json=json, headers=headers)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def default_workspace(self) -> str:
        """The ID of the default account's default workspace."""
        found = [row["id"] for row in self.admin("GET", "/workspaces")["data"] if row["is_default"]]
        return str(found[0])

    def create_account(self, name: str) -> Json:
        """A new account, whose limits and keys no other test shares: `id`, `default_workspace_id`."""
        account: Json = self.admin("POST", "/accounts", {"name": name})
        return account

    def create_key(self, workspace_id: str | None = None, description: str = "test") -> Json:
        """A new key, in the default workspace unless told otherwise: `id`, `key`."""
        workspace_id = workspace_id or self.default_workspace()
        key: Json = self.admin("POST", f"/workspaces/{workspace_id}/api-keys", {"description": description})
        return key

    def demo_base_url(self) -> str:
        """Where the built-in demo upstream listens."""
        found = [row["base_url"] for row in self.admin("GET", "/upstreams")["data"] if row["source"] == "demo"]
        return str(found[0])

    def sql(self, query: str) -> list[Json]:
        """The rows of a query on the database file, read beside the running gateway."""
        with closing(sqlite3.connect(f"file:{self.data_dir / 'gateway.db'}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    def ledger(self, key_id: str | None = None) -> list[Json]:
        """The ledger's rows, all or those of one key, in the order in which their calls began."""
        rows = self.sql("SELECT * FROM ledger ORDER BY at, call_id")
        return [row for row in rows if key_id in (None, row["key_id"])]

    def metered(self, key_id: str, count: int) -> list[Json]:
        """The ledger's rows of a key, once there are `count`: they are written in batches."""
        self.wait_until(lambda: len(self.ledger(key_id)) >= count, f"{count} rows in the ledger")
        return self.ledger(key_id)

    def close(self) -> None:
        client = getattr(self, "_client", None)
        if client is not None:
            client.close()
        super().close()
