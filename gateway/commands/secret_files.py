"""The admin token and the key pepper: as they are set, else made once and kept in a file (mode 0600).

The file is one of the data folder, or the one that the settings name: that of several gateways, which share what the first of
them makes, or one that an orchestrator mounts.
"""

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from gateway.commands.output import Failure
from gateway.config import Secrets, Settings

TOKEN_FILE = "admin-token"  # noqa: S105 — a file's name
PEPPER_FILE = "key-pepper"
_BYTES = 32
_SHORT = 16


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the two: the settings that hold it or name its file, the file's usual name, and the variable."""

    key: str
    usual: str
    variable: str

    def given(self, settings: Settings) -> str | None:
        value = getattr(settings.secrets, self.key)
        return None if value is None else str(value.get_secret_value())

    def named(self, settings: Settings) -> Path | None:
        path: Path | None = getattr(settings.secrets, f"{self.key}_file")
        return path

    def path(self, settings: Settings) -> Path:
        return self.named(settings) or settings.storage.data_dir / self.usual


_TOKEN = _Kind("admin_token", TOKEN_FILE, "GATEWAY_ADMIN_TOKEN")
_PEPPER = _Kind("key_pepper", PEPPER_FILE, "GATEWAY_KEY_PEPPER")


def obtain(settings: Settings) -> tuple[Secrets, list[str]]:
    """The secrets, those that are not set made on first use, and warnings. Raises Failure where a file cannot be used."""
    token, token_warnings = _one(settings, _TOKEN)
    pepper, pepper_warnings = _one(settings, _PEPPER)
    metrics_token, metrics_warnings = _of_metrics(settings)
    secrets = Secrets(admin_token=token, key_pepper=pepper.encode(), metrics_token=metrics_token)
    return secrets, token_warnings + pepper_warnings + metrics_warnings


def token_path(settings: Settings) -> Path:
    """The file that the admin token is read from where it is not set."""
    return _TOKEN.path(settings)


def pepper_path(settings: Settings) -> Path:
    """The same of the key pepper."""
    return _PEPPER.path(settings)


def admin_token(settings: Settings) -> str | None:
    """The admin token as it is set or was made, without making one; None if there is none. Raises Failure."""
    found = _kept(settings, _TOKEN)
    return None if found is None else found[0]


def key_pepper(settings: Settings) -> str | None:
    """The key pepper in the same way."""
    found = _kept(settings, _PEPPER)
    return None if found is None else found[0]


def examine(settings: Settings) -> list[str]:
    """Warnings about the secrets that there are, without making any. Raises Failure where one cannot be used."""
    found = [_kept(settings, _TOKEN), _kept(settings, _PEPPER), _of_metrics(settings)]
    return [warning for each in found if each is not None for warning in each[1]]


def _of_metrics(settings: Settings) -> tuple[str, list[str]]:
    """The token for metrics, empty where there is none, and warnings. Raises Failure where its file cannot be used."""
    token, path = settings.metrics.token, settings.metrics.token_file
    if path is not None:
        text = _read(path, "GATEWAY_METRICS_TOKEN")
        if text is None:
            raise Failure(f"the secret in {path} cannot be read", "Mend the file, or set GATEWAY_METRICS_TOKEN.")
        return text, []
    if token is None:
        return "", []
    text = str(token.get_secret_value())
    return text, _if_short(text, "GATEWAY_METRICS_TOKEN")


def _if_short(text: str, variable: str) -> list[str]:
    if len(text) >= _SHORT:
        return []
    return [f"{variable} is so short that it can be guessed; take a random one, such as openssl rand -hex 32 prints"]


def _kept(settings: Settings, kind: _Kind) -> tuple[str, list[str]] | None:
    """A secret that is set or was made, and warnings; None if there is none."""
    text = kind.given(settings)
    if text is not None:
        return text, _if_short(text, kind.variable)
    path = kind.path(settings)
    text = _read(path, kind.variable)
    if text is None:
        return None
    # Who may read a file that the settings name is decided by whoever mounted it, often for a group.
    return text, _open_to_others(path) if kind.named(settings) is None else []


def _one(settings: Settings, kind: _Kind) -> tuple[str, list[str]]:
    kept = _kept(settings, kind)
    if kept is None:
        _make(kind.path(settings), kind.variable)
        kept = _kept(settings, kind)
    if kept is None:
        raise Failure(
            f"the secret in {kind.path(settings)} is gone again", f"Keep others from that file, or set {kind.variable}."
        )
    return kept


def _make(path: Path, variable: str) -> None:
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
            f"the secret {path} cannot be made: {error.strerror}",
            f"Give its folder to the gateway's user, or set {variable} or {variable}_FILE.",
        ) from None


def _read(path: Path, variable: str) -> str | None:
    """What stands in the file; None if there is none."""
    try:
        text = path.read_bytes().decode("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise Failure(f"the secret in {path} cannot be read", f"Mend the file, or set {variable}.") from None
    if not text or not text.isprintable() or " " in text:
        raise Failure(
            f"the secret in {path} is empty or has blanks",
            f"Put back the right one, or set {variable}; a new token does no harm, with a new pepper no key works any more.",
        )
    return text


def _open_to_others(path: Path) -> list[str]:
    is_open = stat.S_IMODE(path.stat().st_mode) & 0o077
    return [f"others can read {path}; run: chmod 600 {path}"] if is_open else []
