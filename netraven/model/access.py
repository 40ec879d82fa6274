"""How a device is reached: what settings say, put together for one device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Access:
    """The way to one device. Times are seconds; None means what holds for all devices."""

    transport: Literal["ssh", "telnet", "ssh-or-telnet"] = "ssh"
    """``ssh-or-telnet``: telnet where no SSH server answers, and nowhere else."""
    host_keys: Literal["accept-new", "strict", "off"] = "accept-new"
    legacy: bool = False
    """Whether weak SSH algorithms may be used where the device has nothing better."""
    jump: tuple[str, ...] = ()
    """The jump hosts that it is reached through, by device name, the outermost first."""
    telnet_port: int | None = None
    source_address: str | None = None
    """The local address to connect from."""
    keepalive: float = 60.0
    """After so long without a byte TCP asks whether the other side is still there; 0: never."""
    outputs: tuple[str, ...] | None = None
    """The kinds of output to collect; None: what the platform says."""
    connect_timeout: float | None = None
    login_timeout: float | None = None
    command_timeout: float | None = None
    device_timeout: float | None = None
