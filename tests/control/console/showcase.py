"""A gateway that looks lived in, for pictures: a made-up company with teams, keys, models, and a month of calls."""

import asyncio
import math
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
from playwright.sync_api import Browser

from gateway.domain.credentials import KeyKind
from gateway.domain.grants import KeyStatus, Principal
from gateway.domain.ids import call_id
from gateway.domain.ledger import Entry
from gateway.storage.sql.engine import create_engine
from gateway.storage.sql.entries import store
from gateway.storage.sql.refusals import SqlRefusals
from tests.control.console.console_world import Console

HOUR_MS = 3_600_000
DAYS = 30
MODELS = [
    ("qwen-max", "chat", "Qwen", 600, 1_000_000),
    ("qwen-plus", "chat", "Qwen", 1_200, 3_000_000),
    ("qwen-flash", "chat", "Qwen", 3_000, 5_000_000),
    ("deepseek-chat", "chat", "DeepSeek", 300, 600_000),
    ("llama-4-scout", "chat", "Meta", 600, None),
    ("text-embedding-v4", "embedding", "Qwen", 1_800, 1_200_000),
]
TEAMS: dict[str, list[tuple[str, int, int | None]]] = {
    "Production": [("qwen-plus", 600, 1_500_000), ("qwen-flash", 1_500, 2_500_000), ("text-embedding-v4", 900, 600_000)],
    "Research": [("qwen-max", 300, 600_000), ("deepseek-chat", 120, 200_000), ("llama-4-scout", 60, None)],
    "Mobile app": [("qwen-flash", 600, 800_000)],
    "Support assistant": [("qwen-plus", 300, 500_000), ("text-embedding-v4", 300, None)],
}
KEYS = {
    "Production": ["Production API key for main application", "Batch summaries, nightly", "Search index"],
    "Research": ["Evaluation runs", "Notebook of the reading group"],
    "Mobile app": ["iOS and Android, release builds", "Beta testers"],
    "Support assistant": ["Ticket triage"],
}


class Showcase:
    """Builds the world once; `console` is the running gateway with it."""

    def __init__(self, browser: Browser, data_dir: Path) -> None:
        self.random = random.Random(7)
        self.console = Console(browser, data_dir)
        gateway = self.console.gateway
        self.account = self.console.account("Northwind Robotics")
        self.operator = self.console.person("operator", name="Mira Novak")
        self._models()
        self.workspaces = {name: self.console.workspace(name, self.account) for name in TEAMS}
        self.keys: dict[str, list[dict[str, str]]] = {}
        for team, grants in TEAMS.items():
            for model, rpm, tpm in grants:
                path = f"/workspaces/{self.workspaces[team]}/grants/{model}"
                gateway.admin("PUT", path, {"rpm": rpm, "tpm": tpm})
            self.keys[team] = [gateway.create_key(self.workspaces[team], text) for text in KEYS[team]]
        gateway.admin("POST", f"/api-keys/{self.keys['Production'][2]['id']}/disable")
        increase = {"model": "qwen-plus", "rpm": 2_400, "minutes": 1_440, "reason": "Launch of the new assistant"}
        gateway.admin("POST", f"/accounts/{self.account}/increases", increase)
        self._people()
        self._history()

    def _models(self) -> None:
        gateway = self.console.gateway
        demo = gateway.demo_base_url()
        chat = {name: "demo-chat" for name, kind, *_ in MODELS if kind == "chat"}
        for name, models in (("eu-west", chat), ("us-east", {"qwen-plus": "demo-chat", "qwen-flash": "demo-chat"})):
            body = {"name": name, "base_url": demo, "api_key": "secret-of-a-server", "models": models, "weight": 2}
            gateway.admin("POST", "/upstreams", body)
        embeddings = {"text-embedding-v4": "demo-embedding"}
        gateway.admin("POST", "/upstreams", {"name": "embeddings", "base_url": demo, "models": embeddings})
        away = {"name": "spare", "base_url": "http://127.0.0.1:9/v1", "models": ["llama-4-scout"], "enabled": False}
        gateway.admin("POST", "/upstreams", away)
        for name, kind, vendor, rpm, tpm in MODELS:
            gateway.admin("PUT", f"/models/{name}", {"type": kind, "vendor": vendor, "rpm": rpm, "tpm": tpm})

    def _people(self) -> None:
        console, production = self.console, self.workspaces["Production"]
        console.person("owner", account_id=self.account, name="Ada Marek")
        console.person("admin", workspace_id=production, name="Jun Okafor")
        console.person("member", workspace_id=self.workspaces["Research"], name="Lena Fischer")
        console.person("viewer", account_id=self.account, name="Sam Osei")
        invitation = {"email": "noor@example.com", "role": "member", "workspace_id": production}
        console.gateway.admin("POST", "/invitations", invitation)
        console.account("Harbour Logistics")

    def _history(self) -> None:
        """A month of calls, as the gateway would have recorded them; it goes on meanwhile."""

        async def write() -> None:
            engine = create_engine(f"sqlite+aiosqlite:///{self.console.gateway.data_dir / 'gateway.db'}")
            entries = list(self._entries())
            for start in range(0, len(entries), 500):
                await store(engine, entries[start : start + 500])
            refusals = SqlRefusals(engine)
            for entry in entries:
                if self.random.random() < (0.05 if entry.model == "qwen-plus" else 0.01):
                    refusals.count(entry.at, _caller(entry), entry.model, "limit_requests")
            await refusals.close()
            await engine.dispose()

        # Playwright's loop runs in this thread.
        with ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(asyncio.run, write()).result()

    def _entries(self) -> Iterator[Entry]:
        now = int(time.time() * 1000)
        for hour in range(DAYS * 24):
            start = now - (DAYS * 24 - hour) * HOUR_MS
            of_day = time.gmtime(start / 1000)
            busy = 0.25 + max(0.0, math.sin((of_day.tm_hour - 6) / 24 * 2 * math.pi))
            weekend = 0.4 if of_day.tm_wday > 4 else 1.0
            growth = 0.6 + 0.4 * hour / (DAYS * 24)
            for team, grants in TEAMS.items():
                for place, (model, *_) in enumerate(grants):
                    count = round(5 * busy * weekend * growth * self.random.uniform(0.5, 1.4) / (place + 1))
                    for _ in range(count):
                        yield self._entry(start + self.random.randrange(HOUR_MS), team, model)

    def _entry(self, at: int, team: str, model: str) -> Entry:
        rng = self.random
        failed = rng.random() < 0.012
        tokens_in = round(rng.lognormvariate(6.6, 0.7))
        embedding = model.startswith("text-")
        tokens_out = 0 if failed or embedding else round(rng.lognormvariate(5.6, 0.8))
        ttft = round(rng.lognormvariate(5.5 if "flash" in model else 6.1, 0.35))
        return Entry(
            call_id=call_id(at),
            at=at,
            account_id=self.account,
            workspace_id=self.workspaces[team],
            key_id=rng.choice(self.keys[team][:2])["id"],
            endpoint="embeddings" if embedding else "chat/completions",
            model=model,
            deployment="eu-west/demo-chat",
            stream=not embedding,
            status=502 if failed else 200,
            outcome="upstream_error" if failed else "ok",
            input_tokens=0 if failed else tokens_in,
            output_tokens=tokens_out,
            cached_tokens=0 if failed else tokens_in // 4 * (rng.random() < 0.4),
            estimated=False,
            billing="payg",
            ttft_ms=None if failed else ttft,
            duration_ms=ttft + tokens_out * 12,
        )

    def drive(self, seconds: float) -> None:
        """Real calls for a while, so that the live view has something to show; one key runs into its limit."""
        gateway = self.console.gateway
        gateway.admin("PUT", f"/workspaces/{self.workspaces['Mobile app']}/grants/qwen-flash", {"rpm": 40, "tpm": 60_000})
        ends = time.monotonic() + seconds
        with httpx2.Client(base_url=gateway.base_url, timeout=30) as client:
            while time.monotonic() < ends:
                for team, model in (("Mobile app", "qwen-flash"), ("Production", "qwen-plus"), ("Research", "qwen-max")):
                    key = self.keys[team][self.random.randrange(2)]["key"]
                    body = {"model": model, "messages": [{"role": "user", "content": "Hello " * self.random.randint(5, 60)}]}
                    client.post("/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})

    def close(self) -> None:
        self.console.close()


def _caller(entry: Entry) -> Principal:
    return Principal(
        key_id=entry.key_id,
        kind=KeyKind.STANDARD,
        status=KeyStatus.ACTIVE,
        workspace_id=entry.workspace_id,
        account_id=entry.account_id,
        is_default=False,
        epoch=1,
        catalogue_version=1,
    )
