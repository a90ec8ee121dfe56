"""Pictures of every page of the console, light and dark, on a desktop and on a phone: `make screenshots`.

They show a made-up company on a gateway of their own, with its demo model server. Each is written to `docs/images/`, over the one
that was there.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
from playwright.sync_api import Page

from tests.control.console.showcase import Showcase
from tests.support.browser import chromium
from tests.support.processes import ROOT

SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
_DRIVE_SECONDS = 6.0


@dataclass(frozen=True)
class Scene:
    """A picture: where it is, and what is done there before it is taken."""

    name: str
    path: Callable[[Showcase], str]
    act: Callable[[Page], None] = lambda _page: None
    signed_in: bool = True
    whole: bool = True


def _page(name: str, team: str = "Production") -> Callable[[Showcase], str]:
    return lambda world: f"/console/w/{world.workspaces[team]}/{name}"


def _new_key(page: Page) -> None:
    page.get_by_role("button", name="Add API Key").first.click()
    page.get_by_role("dialog").get_by_label("Description").fill("Production API key for main application")
    page.get_by_role("button", name="Generate Key").click()
    page.get_by_role("dialog").get_by_text("curl", exact=False).first.wait_for()


@cache
def _invitation(world: Showcase) -> str:
    body = {"email": "noor@example.com", "role": "member", "workspace_id": world.workspaces["Production"]}
    return str(world.console.gateway.admin("POST", "/invitations", body)["path"])


def _switcher(page: Page) -> None:
    if page.get_by_role("button", name="Menu").is_visible():
        page.get_by_role("button", name="Menu").click()
    page.locator(".switcher").click()


def _live(page: Page) -> None:
    page.wait_for_timeout(3000)  # a first event has come


SCENES = [
    Scene("sign-in", lambda _world: "/console/sign-in", signed_in=False),
    Scene("invitation", _invitation, signed_in=False),
    Scene("keys", _page("keys")),
    Scene("keys-new", _page("keys", "Support assistant"), _new_key, whole=False),
    Scene("switcher", _page("keys"), _switcher, whole=False),
    Scene("usage", _page("usage?range=7d&scope=account")),
    Scene("workspaces", _page("workspaces")),
    Scene("grants", _page("edit")),
    Scene("limits", _page("limits")),
    Scene("limits-live", _page("limits?show=live"), _live),
    Scene("limits-increases", _page("limits?show=increases")),
    Scene("members", _page("members?scope=account")),
    Scene("audit", _page("audit?scope=account")),
    Scene("models", _page("models")),
    Scene("upstreams", _page("upstreams")),
    Scene("accounts", _page("accounts")),
    Scene("people", _page("people")),
    Scene("profile", lambda _world: "/console/profile"),
]


def _picture(world: Showcase, scene: Scene, folder: Path, *, scheme: str, size: str) -> Path:
    person = world.operator if scene.signed_in else None
    width, height = SIZES[size]
    scale = 1 if size == "desktop" else 2
    viewport = {"width": width, "height": height}
    with world.console.page(person, color_scheme=scheme, viewport=viewport, device_scale_factor=scale) as page:
        page.goto(scene.path(world))
        page.wait_for_load_state("load")
        scene.act(page)
        if scene.whole:
            # Not a picture of the whole page: what sticks to the window's edge would stand in its middle.
            tall = page.evaluate("document.documentElement.scrollHeight")
            page.set_viewport_size({"width": width, "height": max(height, tall)})
        page.wait_for_timeout(600)  # what moves has come to rest
        file = folder / f"{scene.name}-{size}-{scheme}.png"
        page.screenshot(path=file)
    return file


@click.command(epilog="Example: make screenshots")
@click.option("--into", type=click.Path(path_type=Path), default=ROOT / "docs" / "images", help="The folder to write to.")
@click.option("--only", multiple=True, help="Only the scenes whose name contains this; may be repeated.")
@click.option("--scheme", type=click.Choice(["light", "dark"]), multiple=True, help="Only light, or only dark.")
@click.option("--size", type=click.Choice(list(SIZES)), multiple=True, help="Only desktop, or only phone.")
def main(into: Path, only: tuple[str, ...], scheme: tuple[str, ...], size: tuple[str, ...]) -> None:
    """Take pictures of the console's pages."""
    scenes = [scene for scene in SCENES if not only or any(part in scene.name for part in only)]
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gateway-pictures-") as folder, chromium() as browser:
        click.echo("Making a gateway that looks lived in ...")
        world = Showcase(browser, Path(folder) / "data")
        try:
            for scene in scenes:
                if scene.name == "limits-live":
                    world.drive(_DRIVE_SECONDS)
                for one_scheme in scheme or ("light", "dark"):
                    for one_size in size or SIZES:
                        file = _picture(world, scene, into, scheme=one_scheme, size=one_size)
                        click.echo(f"{file.name}  {file.stat().st_size // 1024} KiB")
        finally:
            world.close()


if __name__ == "__main__":
    sys.exit(main())
