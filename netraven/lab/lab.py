"""The lab itself: devices on loopback, started and stopped together, changed while they run."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import itertools
import socket
import zlib
from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from netraven.lab.aaa import AAA
from netraven.lab.configurations import configuration
from netraven.lab.dialects import DIALECTS
from netraven.lab.model import WELL, Ill, LabDevice
from netraven.lab.shell import on_wire
from netraven.lab.sockets import Addressing, addresses, bound, sockets
from netraven.lab.wirelog import WireLog

if TYPE_CHECKING:
    import asyncssh

    from netraven.lab.server import Connection, Mute
    from netraven.lab.telnet import TelnetConnection

EVIL_CONFIG = "banner motd \x1b]0;title of the lab\x07\x1b[2J\x1b[31mred\x1b[0m\x07 \u009b5n \udc9b5n end\n"
_BACKLOG = 1024


class Box:
    """One device's running state: what it is now, its key, its socket."""

    def __init__(self, lab: Lab, device: LabDevice) -> None:
        self.lab = lab
        self.name = device.name
        self.endpoint = ("", 0)
        self.server: asyncio.Server | None = None
        self.held: socket.socket | None = None
        self.key_generation = 0
        self.device = device
        self._struck = 0
        self._options: asyncssh.SSHServerConnectionOptions | None = None
        self.become(device)

    def become(self, device: LabDevice) -> None:
        if device.dialect not in DIALECTS:
            raise ValueError(
                f"{device.name}: unknown dialect {device.dialect!r}; known: {', '.join(DIALECTS)}"
            )
        if device.enable_password is not None and not DIALECTS[device.dialect].has_enable:
            raise ValueError(f"{device.name}: {device.dialect} has no enable")
        if self.device.ill != device.ill:
            self._struck = 0
        if self.device.algorithms != device.algorithms:
            self._options = None
        self.device = device
        self.dialect = DIALECTS[device.dialect]

    def next_ill(self) -> Ill:
        """What the connection that is opened now suffers from."""
        ill = self.device.ill
        if ill.times is not None:
            self._struck += 1
            if self._struck > ill.times:
                return WELL
        return ill

    def configuration(self) -> str:
        device = self.device
        if device.config is not None:
            return device.config
        return configuration(device.dialect, device.name, seed=self.lab.seed, size=device.config_size)

    def config_on_wire(self) -> tuple[bytes, bool]:
        """The configuration as it is sent, and whether it was given rather than generated."""
        text = self.configuration()
        if self.device.ill.kind == "evil_output":
            text = EVIL_CONFIG + text
        return on_wire(text), self.device.config is not None

    def options(self) -> asyncssh.SSHServerConnectionOptions:
        if self._options is None:
            self._options = self.lab.options_for(self)
        return self._options

    def new_key(self) -> None:
        self.key_generation += 1
        self._options = None


class Lab:
    """A fleet of simulated devices, as an async context manager.

    `addressing`: `port` gives each device its own port on 127.0.0.1; `address` its own address in 127.0.0.0/8
    on one common port (Linux). `one_listener` (with `address`) serves all of them from one socket, for fleets
    larger than the limit of open files; only then is `port_closed` a connection that is closed at once.
    `shared_host_keys` lets so many keys serve the whole fleet; without it each device has its own. All keys
    follow from `seed` and the name. Changes made while the lab runs hold for the next connection; passwords,
    for the next attempt.
    """

    def __init__(
        self,
        devices: Iterable[LabDevice],
        *,
        addressing: Addressing = "port",
        aaa: AAA | None = None,
        seed: int = 0,
        log: WireLog | None = None,
        shared_host_keys: int | None = None,
        one_listener: bool = False,
    ) -> None:
        self.aaa = aaa
        self.seed = seed
        self.log = log if log is not None else WireLog()
        self.sessions_open = 0
        self.peak_sessions = 0
        self.connections: set[Connection | TelnetConnection] = set()
        self.mutes: set[Mute] = set()
        self.loop: asyncio.AbstractEventLoop
        self._addressing = addressing
        self._shared_keys = shared_host_keys
        self._one_listener = one_listener
        self._wildcard: asyncio.Server | None = None
        self._numbers = itertools.count(1)
        self._base: asyncssh.SSHServerConnectionOptions | None = None
        self._shared: dict[int, asyncssh.SSHServerConnectionOptions] = {}
        self._boxes: dict[str, Box] = {}
        for device in devices:
            if device.name in self._boxes:
                raise ValueError(f"two devices are named {device.name}")
            self._boxes[device.name] = Box(self, device)
        if one_listener and addressing != "address":
            raise ValueError("one_listener needs addressing='address'")

    # -- life

    async def start(self) -> None:
        from netraven.lab import server  # noqa: PLC0415 - asyncssh is imported when a lab starts

        self.loop = asyncio.get_running_loop()
        self._base = server.base_options(server.host_key(self.seed, "", 0))
        boxes = list(self._boxes.values())
        try:
            if self._one_listener:
                await self._listen_once(boxes)
                return
            for box, held in zip(boxes, sockets(len(boxes), self._addressing), strict=True):
                box.held, box.endpoint = held, held.getsockname()
            for box in boxes:
                await self._open(box)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Cut every connection, free every address. Nothing of the lab is left running."""
        servers = [box.server for box in self._boxes.values() if box.server is not None]
        if self._wildcard is not None:
            servers.append(self._wildcard)
            self._wildcard = None
        for listener in servers:
            listener.close()
        for box in self._boxes.values():
            if box.held is not None:
                box.held.close()
            box.server = box.held = None
        while self.connections or self.mutes:
            for mute in list(self.mutes):
                mute.abort()
            for connection in list(self.connections):
                connection.abort()
            await asyncio.sleep(0)
        for _ in range(3):  # transports and cancelled login tasks end in the next turns of the loop
            await asyncio.sleep(0)
        for listener in servers:
            await listener.wait_closed()
        self.log.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- facts

    @property
    def devices(self) -> list[LabDevice]:
        return [box.device for box in self._boxes.values()]

    def endpoint(self, name: str) -> tuple[str, int]:
        return self._boxes[name].endpoint

    def configuration(self, name: str) -> str:
        """What a perfect collector would get: without the headers that a device prints around it."""
        return self._boxes[name].configuration()

    def host_key(self, name: str) -> str:
        """The public key that the next connection will be shown, in OpenSSH form: `ssh-ed25519 AAAA...`."""
        pair = next(iter(self._boxes[name].options().server_host_keys.values()))
        return f"{pair.key_algorithm.decode()} {base64.b64encode(pair.public_data).decode()}"

    def csv(self) -> str:
        """The fleet as `netraven device import` reads it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("name", "host", "port", "platform", "tags"))
        for box in self._boxes.values():
            writer.writerow((box.name, *box.endpoint, box.device.dialect, ";".join(box.device.tags)))
        return text.getvalue()

    # -- changes while it runs

    def change_host_key(self, name: str) -> None:
        self._boxes[name].new_key()

    def set_password(self, username: str, password: str, names: Iterable[str] | None = None) -> None:
        """The password of a user from now on, on these devices or on all that know the user."""
        chosen = self._boxes.values() if names is None else [self._boxes[name] for name in names]
        for box in chosen:
            if names is not None or username in box.device.accepts:
                box.become(replace(box.device, accepts={**box.device.accepts, username: password}))

    async def set_ill(self, name: str, ill: Ill) -> None:
        await self.update(name, ill=ill)

    async def update(self, name: str, **changes: Any) -> None:
        """Change any field of a device but its name."""
        box = self._boxes[name]
        box.become(replace(box.device, **changes, name=name))
        if not self._one_listener:
            await self._open(box)

    # -- for the lab's own parts

    def next_connection(self) -> int:
        return next(self._numbers)

    def session_opened(self) -> None:
        self.sessions_open += 1
        self.peak_sessions = max(self.peak_sessions, self.sessions_open)

    def session_closed(self) -> None:
        self.sessions_open -= 1

    def options_for(self, box: Box) -> asyncssh.SSHServerConnectionOptions:
        from netraven.lab import server  # noqa: PLC0415 - asyncssh is imported when a lab starts

        if self._base is None:
            raise RuntimeError("the lab has not been started")
        if box.device.algorithms is not None:
            key = server.host_key(self.seed, box.name, box.key_generation)
            return server.options_offering(key, box.device.algorithms)
        if self._shared_keys is None or box.key_generation:
            return server.options_with(self._base, server.host_key(self.seed, box.name, box.key_generation))
        number = zlib.crc32(box.name.encode()) % self._shared_keys
        if number not in self._shared:
            key = server.host_key(self.seed, f"shared {number}", 0)
            self._shared[number] = server.options_with(self._base, key)
        return self._shared[number]

    async def _open(self, box: Box) -> None:
        """None listens while the device's port is closed; the address stays held."""
        from netraven.lab import server  # noqa: PLC0415 - asyncssh is imported when a lab starts

        closed = box.device.ill.kind == "port_closed"
        if closed and box.server is not None:
            box.server.close()
            box.server = None
            box.held = bound(*box.endpoint)
        elif not closed and box.server is None:
            held = box.held if box.held is not None else bound(*box.endpoint)
            box.held = None
            box.server = await self.loop.create_server(
                lambda: server.answerer(self, box), sock=held, backlog=_BACKLOG
            )

    async def _listen_once(self, boxes: list[Box]) -> None:
        from netraven.lab import server  # noqa: PLC0415 - asyncssh is imported when a lab starts

        held = bound("0.0.0.0", 0)  # noqa: S104 - callers on any other address are dropped
        port = held.getsockname()[1]
        by_address: dict[str, Box] = {}
        for box, address in zip(boxes, addresses(), strict=False):
            box.endpoint = (address, port)
            by_address[address] = box

        def find(address: str) -> asyncio.BaseProtocol | None:
            box = by_address.get(address)
            return None if box is None else server.answerer(self, box)

        self._wildcard = await self.loop.create_server(
            lambda: server.Dispatcher(find), sock=held, backlog=4 * _BACKLOG
        )
