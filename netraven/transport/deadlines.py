"""How long each step with a device may take."""

from __future__ import annotations

from dataclasses import dataclass

from netraven.model import Access


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for each step with a device; what a device's own access says goes before."""

    connect: float = 10.0
    """DNS, TCP and key exchange, up to the device's question for a secret."""
    login: float = 20.0
    """From the secret to its verdict. Waiting for a permit does not count."""
    command: float = 60.0
    """Each command."""

    def of(self, access: Access) -> Deadlines:
        return Deadlines(
            access.connect_timeout or self.connect,
            access.login_timeout or self.login,
            access.command_timeout or self.command,
        )
