"""Debian's telnet server with login(1): it asks in words, and answers in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance import frr, small_device, telnetd
from tests.acceptance.at_the_prompt import Operator
from tests.acceptance.system import User, free_port, program, public_file, run, temporary_user

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.xdist_group("telnet")]

PASSWORD = "kept-for-the-test-only"


@pytest.fixture(scope="module")
def telnet_user(script: Path) -> Iterator[User]:
    """Whose shell is a device."""
    with temporary_user(PASSWORD, shell=str(script)) as user:
        yield user


async def test_a_refused_password_is_offered_once_and_the_next_one_opens_it(
    operator: Operator, tmp_path: Path, telnet_user: User
) -> None:
    async with telnetd.running(tmp_path / "telnetd") as server:
        operator.settings(f'[tags.fleet]\ntransport = "telnet"\ntelnet_port = {server.port}')
        await operator.device("r1", 22, "cisco_iosxe", "fleet")
        await operator.password("wrong", telnet_user.name, "fleet", "not it", "--priority", "1")
        await operator.password("right", telnet_user.name, "fleet", PASSWORD, "--priority", "2")
        ended = await operator.netraven("collect")
        assert ended.code == 0, ended.out + ended.err
        assert "clear text" in ended.out + ended.err, "that secrets travelled unprotected is said"
        assert await operator.attempts() == [("wrong", "refused"), ("right", "accepted")]
        assert (server.heard("not it"), server.heard(PASSWORD), server.said("Login incorrect")) == (1, 1, 1)
        assert await operator.text("r1") == small_device.CONFIG

        second = (await operator.collect())["r1"]
        assert (second["status"], second["attempts"]) == ("collected", 1)
        assert (server.heard("not it"), server.heard(PASSWORD)) == (1, 2)


async def test_nothing_right(operator: Operator, tmp_path: Path, telnet_user: User) -> None:
    """login(1) asks again and again; it is answered once."""
    async with telnetd.running(tmp_path / "telnetd") as server:
        operator.settings(f'[tags.fleet]\ntransport = "telnet"\ntelnet_port = {server.port}')
        await operator.device("r1", 22, "cisco_iosxe", "fleet")
        await operator.password("wrong", telnet_user.name, "fleet", "not it")
        outcome = (await operator.collect())["r1"]
        assert (outcome["status"], outcome["attempts"]) == ("failed", 1)
        assert await operator.attempts() == [("wrong", "refused")]
        assert (server.heard("not it"), server.said("Login incorrect")) == (1, 1)


async def test_where_telnet_is_not_allowed_it_is_not_tried(
    operator: Operator, tmp_path: Path, telnet_user: User
) -> None:
    async with telnetd.running(tmp_path / "telnetd") as server:
        operator.settings(f"[tags.fleet]\ntelnet_port = {server.port}")
        await operator.device("r1", free_port(), "cisco_iosxe", "fleet")
        await operator.password("right", telnet_user.name, "fleet", PASSWORD)
        outcome = (await operator.collect())["r1"]
        assert (outcome["status"], outcome["reason"]) == ("failed", "unreachable")
        assert not server.conversations


async def test_telnet_as_what_is_left_when_ssh_does_not_answer(
    operator: Operator, tmp_path: Path, telnet_user: User
) -> None:
    async with telnetd.running(tmp_path / "telnetd") as server:
        operator.settings(f'[tags.fleet]\ntransport = "ssh-or-telnet"\ntelnet_port = {server.port}')
        await operator.device("r1", free_port(), "cisco_iosxe", "fleet")
        await operator.password("right", telnet_user.name, "fleet", PASSWORD)
        outcome = (await operator.collect())["r1"]
        assert (outcome["status"], outcome["attempts"]) == ("collected", 1), outcome
        assert server.heard(PASSWORD) == 1


@pytest.mark.frr
async def test_a_real_router_over_telnet(
    operator: Operator, tmp_path: Path, router: str, folder: Path
) -> None:
    shell = public_file(folder / "vtysh", f"#!/bin/sh\nexec {frr.shell(router)}\n", 0o755)
    async with telnetd.running(tmp_path / "telnetd") as server:
        with temporary_user(PASSWORD, groups=frr.GROUPS, shell=str(shell)) as user:
            operator.settings(f'[tags.fleet]\ntransport = "telnet"\ntelnet_port = {server.port}')
            await operator.device(router, 22, frr.PLATFORM, "fleet")
            await operator.password("right", user.name, "fleet", PASSWORD)
            outcome = (await operator.collect())[router]
            assert (outcome["status"], outcome["attempts"]) == ("collected", 1), outcome
            assert "router bgp 64512" in await operator.text(router)


async def test_a_password_that_has_to_be_changed_is_offered_once(operator: Operator, tmp_path: Path) -> None:
    async with telnetd.running(tmp_path / "telnetd") as server:
        with temporary_user(PASSWORD) as user:
            run(program("chage", "passwd"), "-d", "0", user.name)
            operator.settings(f'[tags.fleet]\ntransport = "telnet"\ntelnet_port = {server.port}')
            await operator.device("r1", 22, "cisco_iosxe", "fleet")
            await operator.password("right", user.name, "fleet", PASSWORD)
            outcome = (await operator.collect())["r1"]
            assert "has expired" in outcome["detail"]
            assert await operator.attempts() == [("right", "refused")]
            assert server.heard(PASSWORD) == 1
