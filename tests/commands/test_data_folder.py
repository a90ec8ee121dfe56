"""The data folder: its rights, its lock and its secrets."""

import multiprocessing
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.commands import folder, secret_files
from gateway.commands.output import Failure
from gateway.config import ConfigError, load

PROCESSES = 4


@pytest.fixture(autouse=True)
def _keep_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    """A data folder that the gateway makes, and the files in it, can be read by nobody else."""
    data = tmp_path / "deep" / "data"
    assert folder.prepare(data) == []
    assert mode(data) == 0o700
    (data / "file").touch()
    assert mode(data / "file") == 0o600


def test_an_open_folder_is_warned_of(tmp_path: Path) -> None:
    """A data folder that others can read is used, and the command that closes it is named."""
    tmp_path.chmod(0o755)
    assert folder.prepare(tmp_path) == [f"others can look into the data folder {tmp_path}; run: chmod 700 {tmp_path}"]
    assert mode(tmp_path) == 0o755


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    """A data folder that cannot be made stops the command with the setting to change."""
    (tmp_path / "data").touch()
    with pytest.raises(Failure, match="GATEWAY_DATA_DIR"):
        folder.prepare(tmp_path / "data")


def test_lock_has_one_holder(tmp_path: Path) -> None:
    """While the lock is held nobody else gets it, and its holder's address is found; afterwards it is free."""
    lock = folder.take(tmp_path)
    with pytest.raises(folder.Taken) as taken:
        folder.take(tmp_path)
    assert not taken.value.url
    lock.announce("http://127.0.0.1:1234")
    assert folder.take_or_find(tmp_path, wait=0) == "http://127.0.0.1:1234"
    lock.release()
    again = folder.take(tmp_path)
    assert (tmp_path / folder.LOCK_FILE).read_bytes() == b""
    again.release()


def test_a_holder_without_an_address_is_waited_for(tmp_path: Path) -> None:
    """A folder that stays busy is told of after the wait, not waited for without end."""
    with folder.held(folder.take(tmp_path)), pytest.raises(Failure, match="another process"):
        folder.take_or_find(tmp_path, wait=0.1)


def test_what_a_killed_holder_left_is_no_address(tmp_path: Path) -> None:
    """The address of a gateway that was killed misleads nobody: the lock is free, and the address goes."""
    (tmp_path / folder.LOCK_FILE).write_text("http://127.0.0.1:1\n")
    lock = folder.take_or_find(tmp_path, wait=0)
    assert isinstance(lock, folder.Lock)
    with pytest.raises(folder.Taken) as taken:
        folder.take(tmp_path)
    assert not taken.value.url
    lock.release()


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """Secrets that are not set are made with mode 0600, whatever the umask, and the next start has the same ones."""
    os.umask(0)
    settings = load({"GATEWAY_DATA_DIR": str(tmp_path)}, None)
    first, warnings = secret_files.obtain(settings)
    assert warnings == []
    for name in (secret_files.TOKEN_FILE, secret_files.PEPPER_FILE):
        assert mode(tmp_path / name) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [secret_files.TOKEN_FILE, secret_files.PEPPER_FILE]
    assert first.admin_token.encode() != first.key_pepper
    assert len(first.admin_token) >= 40
    assert secret_files.obtain(settings) == (first, [])
    assert secret_files.admin_token(settings) == first.admin_token


def test_secrets_that_are_set_make_no_file(tmp_path: Path) -> None:
    """Secrets of the settings are used as they are, and leave nothing in the data folder."""
    env = {"GATEWAY_DATA_DIR": str(tmp_path), "GATEWAY_ADMIN_TOKEN": "the-token", "GATEWAY_KEY_PEPPER": "the-pepper"}
    secrets, _ = secret_files.obtain(load(env, None))
    assert (secrets.admin_token, secrets.key_pepper) == ("the-token", b"the-pepper")
    assert list(tmp_path.iterdir()) == []
    assert "the-" not in repr(secrets)


def test_the_token_of_metrics_comes_from_the_settings_or_a_file(tmp_path: Path) -> None:
    """It is set or stands in a file, which is never made; there may be none; a file that cannot be read stops the start."""
    env = {"GATEWAY_DATA_DIR": str(tmp_path)}
    assert secret_files.obtain(load(env, None))[0].metrics_token == ""
    secrets, warnings = secret_files.obtain(load(env | {"GATEWAY_METRICS_TOKEN": "short"}, None))
    assert (secrets.metrics_token, len(warnings)) == ("short", 1)
    file = tmp_path / "token"
    named = load(env | {"GATEWAY_METRICS_TOKEN_FILE": str(file)}, None)
    with pytest.raises(Failure, match="cannot be read"):
        secret_files.obtain(named)
    file.write_text("of-the-file\n")
    secrets, warnings = secret_files.obtain(named)
    assert (secrets.metrics_token, warnings) == ("of-the-file", [])
    assert "of-the-file" not in repr(secrets)
    with pytest.raises(ConfigError, match="both set"):
        load(env | {"GATEWAY_METRICS_TOKEN_FILE": str(file), "GATEWAY_METRICS_TOKEN": "x"}, None)


def test_open_secret_files_are_warned_of(tmp_path: Path) -> None:
    """A secret that others can read is used, and the command that closes it is named."""
    settings = load({"GATEWAY_DATA_DIR": str(tmp_path)}, None)
    before, _ = secret_files.obtain(settings)
    token = tmp_path / secret_files.TOKEN_FILE
    token.chmod(0o640)
    assert secret_files.obtain(settings) == (before, [f"others can read {token}; run: chmod 600 {token}"])


def test_secrets_in_files_that_are_named(tmp_path: Path) -> None:
    """Gateways whose settings name the same files share the secrets that the first makes; one that is set counts before."""
    shared = {"GATEWAY_KEY_PEPPER_FILE": str(tmp_path / "pepper"), "GATEWAY_ADMIN_TOKEN_FILE": str(tmp_path / "token")}
    one, _ = secret_files.obtain(load({"GATEWAY_DATA_DIR": str(tmp_path / "one"), **shared}, None))
    assert mode(tmp_path / "pepper") == 0o600
    assert one.key_pepper == (tmp_path / "pepper").read_bytes().strip()
    (tmp_path / "pepper").chmod(0o440)  # as an orchestrator mounts it
    other = load({"GATEWAY_DATA_DIR": str(tmp_path / "other"), **shared}, None)
    assert secret_files.obtain(other) == (one, [])
    assert secret_files.admin_token(other) == one.admin_token
    assert not (tmp_path / "other").exists()
    given = load({**shared, "GATEWAY_KEY_PEPPER": "the-pepper-of-the-settings"}, None)
    assert secret_files.key_pepper(given) == "the-pepper-of-the-settings"


def test_a_secret_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Where the file's folder is missing, the message names the file and both ways out."""
    settings = load({"GATEWAY_DATA_DIR": str(tmp_path), "GATEWAY_KEY_PEPPER_FILE": str(tmp_path / "no" / "pepper")}, None)
    with pytest.raises(Failure, match=r"no/pepper cannot be made.* GATEWAY_KEY_PEPPER or GATEWAY_KEY_PEPPER_FILE"):
        secret_files.obtain(settings)


@pytest.mark.parametrize("content", [b"", b"\n", b"two words\n", b"\xff\xfe\n"])
def test_unusable_secret_files_are_never_overwritten(tmp_path: Path, content: bytes) -> None:
    """A damaged secret stops the start and stays as it is: a new pepper in its place would end every key."""
    settings = load({"GATEWAY_DATA_DIR": str(tmp_path)}, None)
    pepper = tmp_path / secret_files.PEPPER_FILE
    pepper.write_bytes(content)
    with pytest.raises(Failure, match="GATEWAY_KEY_PEPPER"):
        secret_files.obtain(settings)
    assert pepper.read_bytes() == content


def _obtain(data: str, barrier: object, answers: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]  # multiprocessing's own types depend on the start method
    secrets, _ = secret_files.obtain(load({"GATEWAY_DATA_DIR": data}, None))
    answers.put((secrets.admin_token, secrets.key_pepper))  # type: ignore[attr-defined]  # as above


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    """Of processes that make the secrets at the same moment, all end up with the same ones, and no draft is left."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(PROCESSES), context.Queue()
    processes = [context.Process(target=_obtain, args=(str(tmp_path), barrier, answers)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    found = {answers.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
        process.close()
    answers.close()
    answers.join_thread()
    assert len(found) == 1
    assert len(list(tmp_path.iterdir())) == 2
