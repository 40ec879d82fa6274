"""``file:PATH``: a file that systemd, an orchestrator or a person has put there."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from netraven.aside import aside
from netraven.credentials.source import SecretFile
from netraven.errors import SecretUnreadable
from netraven.model import Secret
from netraven.sources.text import LARGEST, secret_in

HANDED_OVER = "CREDENTIALS_DIRECTORY"
"""Where systemd puts the files of ``LoadCredential=`` (systemd.exec(5))."""


class FileSource:
    """Relative paths are looked for among the credentials of the systemd unit, then in ``folder``."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, timeout: float) -> None:
        self._folder = folder
        self._environ = environ
        self._timeout = timeout

    async def read(self, place: SecretFile) -> Secret:
        try:
            data = await aside(
                partial(self._data, place.path), timeout=self._timeout, name="netraven-secret-file"
            )
        except TimeoutError:
            raise SecretUnreadable(
                f"{place.path} could not be read within {self._timeout:g} s: is its file system there?"
            ) from None
        return secret_in(data, place.path)

    def _data(self, path: str) -> bytes:
        found: Path | str = path
        try:
            found = self._find(path)
            handle = os.open(found, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would wait for a writer
            with os.fdopen(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise SecretUnreadable(f"{found} is not a regular file")
                return file.read(LARGEST + 1)
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~ of a user who does not exist
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            raise SecretUnreadable(f"cannot read {found}: {reason}") from None

    def _find(self, path: str) -> Path:
        directory = self._environ.get(HANDED_OVER)
        if directory and not Path(path).is_absolute():
            handed = Path(directory) / path
            if handed.exists():
                return handed
        return self._folder / Path(path).expanduser()
