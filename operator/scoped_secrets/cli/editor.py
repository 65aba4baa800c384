"""A person's editor, on a file that only the person can read and that is gone afterwards."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final, Never

from scoped_secrets.cli.secret_input import InputError
from scoped_secrets.errors import ConfigurationError

__all__ = ["Draft", "draft"]

# The variables of kubectl, and POSIX's default.
_VARIABLES: Final = ("KUBE_EDITOR", "EDITOR")
_DEFAULT: Final = "vi"
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder that only its owner may enter is made there.
_TMPFS_MAGIC: Final = "tmpfs"


class Draft:
    """The text that a person edits."""

    def __init__(self, path: Path, editor: list[str]) -> None:
        """Take the file and the editor's command."""
        self._path = path
        self._editor = editor

    def edit(self, text: str) -> str:
        """Have the text edited and return it as it was saved.

        Raises:
            InputError: The editor failed, or saved something that is no text.
        """
        self._write(text)
        # Ctrl-C belongs to the editor: it shares the terminal with us.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = subprocess.call([*self._editor, str(self._path)], preexec_fn=_take_interrupts)  # noqa: S603 - the person chose the program; no other thread runs.
        except OSError as error:
            raise ConfigurationError(
                f"the editor does not start ({error.strerror}); name another one with {' or '.join(_VARIABLES)}"
            ) from None
        finally:
            signal.signal(signal.SIGINT, before)
        if code != 0:
            raise InputError(f"the editor ended with exit code {code}; nothing is changed")
        try:
            saved: str | None = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            saved = None
        if saved is None:
            raise InputError("the editor saved no UTF-8 text; nothing is changed")
        return saved

    def _write(self, text: str) -> None:
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)


@contextmanager
def draft(name: str, environment: Mapping[str, str] = os.environ) -> Iterator[Draft]:
    """Yield a file for an editor, in a folder of its own in memory where there is one; both are gone at the end.

    The folder also holds what editors write beside the file, such as swap files.
    """
    editor = next((environment[each] for each in _VARIABLES if environment.get(each)), _DEFAULT)
    folder = Path(tempfile.mkdtemp(prefix="scoped-secrets-", dir=_folder_in_memory(environment)))
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield Draft(folder / f"{name}.yaml", shlex.split(editor))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def _folder_in_memory(environment: Mapping[str, str]) -> Path | None:
    """Return a folder whose files are never on a disk, ``None`` for the system's folder for temporary files."""
    runtime = environment.get("XDG_RUNTIME_DIR")
    candidates = [*([Path(runtime)] if runtime else []), _MEMORY]
    return next((each for each in candidates if _is_tmpfs(each) and os.access(each, os.W_OK | os.X_OK)), None)


def _is_tmpfs(folder: Path) -> bool:
    """Tell whether a folder is in memory; false where the system does not say."""
    with suppress(OSError):
        resolved = str(folder.resolve())
        mounts = (line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines())
        fitting = [
            (len(fields[1]), fields[2])
            for fields in mounts
            if resolved == fields[1] or resolved.startswith(f"{fields[1].rstrip('/')}/")
        ]
        return bool(fitting) and max(fitting)[1] == _TMPFS_MAGIC
    return False


def _take_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end(number: int, _: FrameType | None) -> Never:
    raise SystemExit(128 + number)
