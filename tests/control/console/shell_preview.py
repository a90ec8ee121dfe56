"""A page with every part of the console's design system on made-up data: to look at, and for the tests of the shell.

    .venv/bin/uvicorn --app-dir tests/control/console shell_preview:app

`?rows=0|1|500` sets the number of rows, `?wide=1` makes all names as long as they may be.
"""

from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.control.console.assets import PREFIX, static
from gateway.control.console.render import environment, page

NOW = 1_769_860_800_000  # 2026-01-31T12:00:00Z
WIDE = "東京開発本部第二課・会話型検索基盤の検証用の作業場所その壱弐"
LONG = "Production API key for the main application of the customer portal, rotated by the platform team each quarter; " * 2


@dataclass(frozen=True)
class Thing:
    """Whatever a template asks of it."""

    values: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None


NAV = [
    ("", [("API keys", "key"), ("Usage", "chart"), ("Rate limits", "gauge"), ("Members", "people"), ("Audit", "audit")]),
    ("Account", [("Workspaces", "workspace"), ("Account limits", "gauge")]),
    ("Installation", [("Models", "model"), ("Upstreams", "upstream"), ("Accounts", "account")]),
]


def shell(*, wide: bool, workspaces: int) -> dict[str, Any]:
    """What every page is given."""
    name = WIDE if wide else "research"
    links = [
        {
            "id": f"llm-7c72iiw36kd8{n:04d}",
            "name": "Default workspace"
            if n == 0
            else f"{name} {n}"[-30:]
            if wide
            else ["research", "search-quality", "billing"][n % 3] + f"-{n}",
            "is_default": n == 0,
            "account_name": "Example Ltd",
            "url": f"/?workspace={n}",
        }
        for n in range(workspaces)
    ]
    own = links[min(1, workspaces - 1)]
    return {
        "csrf": "csrf-of-the-preview",
        "me": {"name": WIDE if wide else "Ada Lovelace", "email": "ada@example.com", "role_label": "Owner of Example Ltd"},
        "place": {
            "account": {"id": "acc-1", "name": "Example Ltd"},
            "workspace": own,
            "workspaces": links,
            "many_accounts": wide,
        },
        "nav": [
            {
                "label": label,
                "items": [{"label": text, "url": "#", "icon": icon, "current": text == "API keys"} for text, icon in items],
            }
            for label, items in NAV
        ],
    }


def rows(count: int, *, wide: bool) -> list[dict[str, Any]]:
    return [
        {
            "id": f"key-{7_300_000 + n * 7919}",
            "tail": f"{7_300_000 + n * 7919}"[-4:],
            "masked": f"sk-…{n * 7919 % 10_000:04d}",
            "active": n % 7 != 3,
            "description": LONG[:200]
            if wide
            else ["Production API key for main application", "", "Nightly evaluation", "CI"][n % 4],
            "created": NOW - n * 86_400_000,
            "used": None if n % 5 == 2 else NOW - n * 3_600_000,
            "calls": n * 12_345_678 % 9_999_999,
        }
        for n in range(count)
    ]


async def home(request: Request) -> Response:
    """Every part on one page."""
    query = request.query_params
    wide = query.get("wide") == "1"
    return page(
        "preview.html",
        title="API keys",
        rows=rows(int(query.get("rows", "4")), wide=wide),
        query=query.get("q", ""),
        wide=wide,
        now=NOW,
        long=LONG[:200],
        charts={},
        **shell(wide=wide, workspaces=int(query.get("workspaces", "9"))),
    )


async def sign_in(_request: Request) -> Response:
    """The other shell."""
    return page("preview_bare.html", title="Sign in", csrf="csrf-of-the-preview", error="The e-mail or the password is wrong.")


async def problem(_request: Request) -> Response:
    """A page in place of another."""
    return page(
        "problem.html", 404, title="Not found", text="There is no such page, or it is not yours to see.", request_id="req-1"
    )


async def keys(request: Request) -> Response:
    """A stand-in for the admin API: refuses what has `wrong` in it."""
    body = await request.json() if await request.body() else {}
    sent = {
        "body": body,
        "headers": {name: request.headers.get(name) for name in ("x-csrf-token", "if-match", "idempotency-key")},
    }
    if request.path_params["id"] == "stale":
        return JSONResponse({"detail": "It has changed.", "errors": []}, 412, media_type="application/problem+json")
    if body.get("description") == "wrong":
        errors = [
            {"param": "description", "message": "Must not be wrong."},
            {"param": "other", "message": "Something else is wrong, too."},
        ]
        return JSONResponse({"detail": "Wrong.", "errors": errors}, 400, media_type="application/problem+json")
    return JSONResponse({"id": request.path_params["id"], **sent})


async def own_static(request: Request) -> Response:
    """As the application does."""
    return await static(request.path_params["digest"], request.path_params["name"])


def make() -> Starlette:
    """The application, with the preview's own templates beside the console's."""
    from pathlib import Path

    from jinja2 import ChoiceLoader, FileSystemLoader

    made = environment()
    folder = FileSystemLoader(Path(__file__).parent / "preview")
    if not isinstance(made.loader, ChoiceLoader) and made.loader is not None:
        made.loader = ChoiceLoader([made.loader, folder])
    return Starlette(
        routes=[
            Route("/", home),
            Route("/sign-in", sign_in),
            Route("/problem", problem),
            Route("/admin/v1/api-keys/{id}", keys, methods=["POST", "PATCH", "DELETE"]),
            Route(PREFIX + "/{digest}/{name}", own_static),
        ]
    )


app = make()
