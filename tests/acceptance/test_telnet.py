"""A telnet server that nobody here wrote: Debian's telnetd, with login(1) and PAM judging the passwords."""

from __future__ import annotations

import pytest

from netraven.errors import DeviceFailure
from netraven.model import Access, Device, Target
from netraven.transport.ssh import Deadlines
from netraven.transport.telnet import TelnetTransport
from tests.acceptance import openssh, telnetd
from tests.transport.rig import NotedLogin

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sshd")]

PASSWORD = "kept-for-the-test-only"


async def told(port: int, login: NotedLogin) -> list[str]:
    target = Target(Device("r1", "127.0.0.1", "cumulus_vtysh", port), access=Access("telnet"))
    try:
        async with TelnetTransport(Deadlines(20.0, 20.0, 20.0)).open(target, login):
            pass
    except DeviceFailure as failure:
        return [*login.told, failure.detail]
    return login.told


async def test_login_says_yes_and_no() -> None:
    with openssh.temporary_user(PASSWORD) as user:
        async with telnetd.running() as port:
            assert await told(port, NotedLogin(PASSWORD, username=user)) == ["secret", "accepted"]
            for login in (NotedLogin("wrong", username=user), NotedLogin(PASSWORD, username="nobody-here")):
                assert await told(port, login) == [
                    "secret",
                    "rejected auth_refused",
                    "the device refused the secret: Login incorrect",
                ]


async def test_a_password_that_has_to_be_changed() -> None:
    with openssh.temporary_user(PASSWORD) as user:
        openssh.run(openssh.program("chage", "passwd"), "-d", "0", user)
        async with telnetd.running() as port:
            assert await told(port, NotedLogin(PASSWORD, username=user)) == [
                "secret",
                "rejected auth_refused",
                "the password has expired: the device asks for a new one",
            ]
