"""SSH servers that let anybody in and ask in the shell who it is, and user names with something behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncssh
import pytest

from netraven.model import Device, Target
from netraven.transport.ssh import SshTransport
from tests.transport.rig import PATIENT, NotedLogin, visit

CONFIG = "config sysname wlc1\r\nconfig prompt wlc1\r\n"


@dataclass
class Wlc:
    """A wireless controller's login, as AireOS words it. ``typed``: every line that came in, in order."""

    tries: int = 3
    port: int = 0
    typed: list[str] = field(default_factory=list)
    usernames: list[str] = field(default_factory=list)

    @property
    def target(self) -> Target:
        return Target(Device("wlc1", "127.0.0.1", "cisco_aireos", self.port))

    async def speak(self, process: Any) -> None:
        async def line(question: str) -> str:
            process.stdout.write(question)
            said = str(await process.stdin.readline()).rstrip("\r\n")
            self.typed.append(said)
            return said

        try:
            process.stdout.write("\r\n(Cisco Controller) \r\n")
            for _ in range(self.tries):
                user, password = await line("User:"), await line("Password:")
                process.stdout.write("\r\n" + "*" * len(password) + "\r\n")
                if (user, password) == ("netops", "right"):
                    break
            else:
                return
            while command := await line("(Cisco Controller) >"):
                shown = {"config paging disable": "", "show run-config commands": CONFIG}
                process.stdout.write(command + "\r\n" + shown.get(command, "Incorrect usage.\r\n") + "\r\n")
        finally:
            process.exit(0)


@asynccontextmanager
async def controller(wlc: Wlc) -> AsyncIterator[Wlc]:
    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            wlc.usernames.append(username)
            return False

    server = await asyncssh.create_server(
        Server,
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=wlc.speak,
        line_editor=False,
        gss_host=None,
    )
    wlc.port = server.sockets[0].getsockname()[1]
    try:
        yield wlc
    finally:
        server.close()
        await server.wait_closed()


async def test_the_secret_is_typed_once_where_the_shell_asks_for_it() -> None:
    async with controller(Wlc()) as wlc:
        result = await visit(SshTransport(PATIENT), wlc.target)
    assert result.text == CONFIG.replace("\r\n", "\n")
    assert result.told == ["secret", "accepted"]
    assert wlc.typed[:2] == ["netops", "right"]
    assert wlc.typed.count("right") == 1


@pytest.mark.parametrize("tries", [1, 3])
async def test_a_wrong_one_is_refused_once_and_not_typed_again(tries: int) -> None:
    async with controller(Wlc(tries)) as wlc:
        result = await visit(SshTransport(PATIENT), wlc.target, NotedLogin("wrong"))
    assert result.reason in ({"auth_refused"} if tries > 1 else {"auth_refused", "auth_no_verdict"})
    assert result.told in (["secret", "rejected auth_refused"], ["secret", "rejected auth_no_verdict"])
    assert wlc.typed == ["netops", "wrong"]


async def test_a_key_is_nothing_that_a_shell_can_be_told() -> None:
    async with controller(Wlc()) as wlc:
        key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
        result = await visit(SshTransport(PATIENT), wlc.target, NotedLogin(None, private_key=key))
    assert result.reason == "negotiation"
    assert wlc.typed == []


async def test_a_platform_puts_its_options_behind_the_user_name() -> None:
    """RouterOS reads terminal options there; what is on record is the user name alone."""
    async with controller(Wlc()) as wlc:
        goal = Target(Device("mt1", "127.0.0.1", "mikrotik_routeros", wlc.port))
        login = NotedLogin()
        async with SshTransport(PATIENT).open(goal, login):
            pass
    assert wlc.usernames == ["netops+cet511w4098h"]
    assert login.username == "netops"
