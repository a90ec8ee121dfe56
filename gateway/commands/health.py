"""`gateway health`: whether a gateway lives, or is ready for calls, for what starts and watches it.

It is called every few seconds, so it imports little: with an address it reads no settings at all.
"""

import http.client
import json
from urllib.parse import urlsplit

import click

from gateway.commands.help import examples

_SECONDS = 4.0
_OK = 200


@click.command(epilog=examples("gateway health", "gateway health --live --url http://127.0.0.1:8080"))
@click.option("--live", is_flag=True, help="Ask only whether it answers, not whether it is ready for calls.")
@click.option("--url", envvar="GATEWAY_URL", help="The gateway's address; left out, it is found by the data folder.")
@click.option("--json", "json_", is_flag=True, help="Print what was found as JSON.")
def health(live: bool, url: str | None, json_: bool) -> None:
    """Ask a running gateway whether it is ready for calls. Exits with 1 when it is not, or does not answer in time."""
    problems = _problems(url or _of_data_folder(), "/livez" if live else "/readyz")
    if json_:
        click.echo(json.dumps({"ok": not problems, "problems": problems}))
    else:
        click.echo(f"not {'alive' if live else 'ready'}: {', '.join(problems)}" if problems else "ok")
    if problems:
        raise click.exceptions.Exit(1)


def _of_data_folder() -> str:
    """The address of the gateway that uses the data folder. Raises Failure where none does."""
    # What reads the settings takes three times as long to import as everything else here.
    from gateway.commands import folder, output  # noqa: PLC0415 — see above

    data = output.settings().storage.data_dir
    url = folder.address(data)
    if url is None:
        raise output.Failure(f"no gateway listens that uses the data folder {data}", "Start it, or give --url.")
    return url


def _problems(url: str, path: str) -> list[str]:
    """What keeps the gateway at `url` from being well; nothing if it is."""
    try:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
    except ValueError:
        return [f"{url!r} is no address"]
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        reply = connection.getresponse()
        body = reply.read()
    except (OSError, http.client.HTTPException) as error:
        return [f"{url} does not answer: {error or type(error).__name__}"]
    finally:
        connection.close()
    return [] if reply.status == _OK else _told(body) or [f"{url} answered {reply.status}"]


def _told(body: bytes) -> list[str]:
    """The problems that `/readyz` names."""
    try:
        return [str(each) for each in json.loads(body)["problems"]]
    except (ValueError, TypeError, KeyError):
        return []
