"""What the dialogue needs of a connection: the bytes of one shell. SSH and telnet bring their own."""

from __future__ import annotations

from typing import Protocol


class Shell(Protocol):
    """A shell on a device. One reader at a time."""

    ended: bool

    @property
    def pending(self) -> bool:
        """Whether output has arrived that nobody has read."""

    async def read(self) -> bytes:
        """Everything that has arrived, at least one byte. Raises ``OSError`` once the shell has ended."""

    async def quiet(self, seconds: float) -> bool:
        """Whether nothing more arrives for ``seconds``."""

    def discard(self) -> None:
        """Forget what has arrived and not been read."""

    def write(self, data: bytes) -> None:
        """Raises ``OSError`` once the shell has ended."""
