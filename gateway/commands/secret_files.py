"""The admin token and the key pepper: as they are set, else made once and kept in the data folder (mode 0600)."""

import os
import secrets
import stat
from pathlib import Path

from gateway.commands.output import Failure
from gateway.config import Secrets, Settings

TOKEN_FILE = "admin-token"  # noqa: S105 — a file's name
PEPPER_FILE = "key-pepper"
_BYTES = 32
_SHORT = 16


def obtain(settings: Settings) -> tuple[Secrets, list[str]]:
    """The secrets, those that are not set made on first use, and warnings. Raises Failure where a file cannot be used."""
    token, token_warnings = _one(settings, "admin_token", TOKEN_FILE, "GATEWAY_ADMIN_TOKEN")
    pepper, pepper_warnings = _one(settings, "key_pepper", PEPPER_FILE, "GATEWAY_KEY_PEPPER")
    metrics_token, metrics_warnings = _of_metrics(settings)
    secrets = Secrets(admin_token=token, key_pepper=pepper.encode(), metrics_token=metrics_token)
    return secrets, token_warnings + pepper_warnings + metrics_warnings


def admin_token(settings: Settings) -> str | None:
    """The admin token as it is set or was made, without making one; None if there is none. Raises Failure."""
    found = _kept(settings, "admin_token", TOKEN_FILE, "GATEWAY_ADMIN_TOKEN")
    return None if found is None else found[0]


def key_pepper(settings: Settings) -> str | None:
    """The key pepper in the same way."""
    found = _kept(settings, "key_pepper", PEPPER_FILE, "GATEWAY_KEY_PEPPER")
    return None if found is None else found[0]


def examine(settings: Settings) -> list[str]:
    """Warnings about the secrets that there are, without making any. Raises Failure where one cannot be used."""
    token = _kept(settings, "admin_token", TOKEN_FILE, "GATEWAY_ADMIN_TOKEN")
    pepper = _kept(settings, "key_pepper", PEPPER_FILE, "GATEWAY_KEY_PEPPER")
    metrics = _of_metrics(settings)
    return [warning for found in (token, pepper, metrics) if found is not None for warning in found[1]]


def _of_metrics(settings: Settings) -> tuple[str, list[str]]:
    """The token for metrics, empty where there is none, and warnings. Raises Failure where its file cannot be used."""
    token, file = settings.metrics.token, settings.metrics.token_file
    if file is not None:
        return _read(file, "GATEWAY_METRICS_TOKEN")
    if token is None:
        return "", []
    text: str = token.get_secret_value()
    return text, _if_short(text, "GATEWAY_METRICS_TOKEN")


def _kept(settings: Settings, name: str, file: str, variable: str) -> tuple[str, list[str]] | None:
    """A secret that is set or was made, and warnings; None if there is none."""
    given = getattr(settings.secrets, name)
    if given is not None:
        text: str = given.get_secret_value()
        return text, _if_short(text, variable)
    path = settings.storage.data_dir / file
    return _read(path, variable) if path.exists() else None


def _if_short(text: str, variable: str) -> list[str]:
    if len(text) >= _SHORT:
        return []
    return [f"{variable} is so short that it can be guessed; take a random one, such as openssl rand -hex 32 prints"]


def _one(settings: Settings, name: str, file: str, variable: str) -> tuple[str, list[str]]:
    kept = _kept(settings, name, file, variable)
    if kept is not None:
        return kept
    path = settings.storage.data_dir / file
    _make(path)
    return _read(path, variable)


def _make(path: Path) -> None:
    """Put a new secret into a file that does not exist yet. Of several processes that try at once, one succeeds.

    The whole file gets its name in one step, so nobody reads a part of it, and a crash leaves none behind.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, secrets.token_urlsafe(_BYTES).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first; its secret counts
        finally:
            draft.unlink()
    except OSError as error:
        raise Failure(
            f"the secret {path} cannot be made: {error.strerror}", "Give the data folder to the gateway's user."
        ) from None


def _read(path: Path, variable: str) -> tuple[str, list[str]]:
    try:
        text = path.read_bytes().decode("ascii").strip()
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, UnicodeDecodeError):
        raise Failure(f"the secret in {path} cannot be read", f"Mend the file, or set {variable}.") from None
    if not text or not text.isprintable() or " " in text:
        raise Failure(
            f"the secret in {path} is empty or has blanks",
            f"Put back the right one, or set {variable}; a new token does no harm, with a new pepper no key works any more.",
        )
    if mode & 0o077:
        return text, [f"others can read {path}; run: chmod 600 {path}"]
    return text, []
