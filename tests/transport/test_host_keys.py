"""The host key gate: no secret leaves before the key is accepted."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.errors import HostKeyChanged, HostKeyUnknown, RecorderStopped
from netraven.lab import Ill, Lab
from netraven.model import Access, Device, HostKey, Target, Trust
from netraven.transport.host_keys import judge
from netraven.transport.ssh import SshTransport
from tests.transport.rig import PATIENT, NotedLogin, alone, key_of, quiet, router, target, visit

keys = st.builds(
    HostKey, st.sampled_from(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"]), st.binary(min_size=1)
)


POLICIES = ("accept-new", "strict")


def goal(policy: str, *on_record: HostKey, **trust: tuple[HostKey, ...]) -> Target:
    access = Access(host_keys=policy)  # type: ignore[arg-type]  # drawn from POLICIES and "off"
    return Target(Device("r1", "192.0.2.1", "cisco_iosxe"), on_record, trust=Trust(**trust), access=access)


@given(shown=keys, others=st.lists(keys, max_size=3), policy=st.sampled_from(POLICIES))
def test_the_rule(shown: HostKey, others: list[HostKey], policy: str) -> None:
    others = [key for key in others if key != shown]
    assert judge(shown, goal(policy, *others, shown)) is False
    assert judge(shown, goal("off", *others)) is False
    with pytest.raises(HostKeyChanged, match="revoked"):
        judge(shown, goal("off", shown, revoked=(shown,)))
    if others:
        with pytest.raises(HostKeyChanged) as caught:
            judge(shown, goal(policy, *others))
        for key in (shown, *others):
            assert key.fingerprint in caught.value.detail
        assert "nothing was sent" in caught.value.detail
    elif policy == "accept-new":
        assert judge(shown, goal(policy)) is True
    else:
        with pytest.raises(HostKeyUnknown, match="nothing was sent"):
            judge(shown, goal(policy))


def test_a_known_key_under_another_algorithms_name_is_another_key() -> None:
    with pytest.raises(HostKeyChanged):
        judge(HostKey("ssh-rsa", b"k"), goal("accept-new", HostKey("ssh-ed25519", b"k")))


def test_a_fingerprint_is_what_openssh_prints() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    ours = HostKey(key.get_algorithm(), key.public_data).fingerprint
    assert ours == key.get_fingerprint()


def strictly(goal: Target, policy: str = "strict") -> Target:
    return replace(goal, access=Access(host_keys=policy))  # type: ignore[arg-type]  # as in POLICIES


async def test_a_new_key_is_remembered_before_the_secret_is_handed_over() -> None:
    async with Lab([router()]) as lab:
        result = await visit(SshTransport(PATIENT), target(lab))
        assert result.login.told == [f"new_host_key {key_of(lab).fingerprint}", "secret", "accepted"]
        await quiet(lab)


async def test_a_key_on_record_is_not_remembered_again() -> None:
    async with Lab([router()]) as lab:
        result = await visit(SshTransport(PATIENT), strictly(target(lab, "r1", key_of(lab))))
        assert result.login.told == ["secret", "accepted"]
        assert result.text
        await quiet(lab)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "auth", [("password",), ("keyboard-interactive",), ("password", "keyboard-interactive")]
)
async def test_a_changed_key_gets_no_secret(policy: str, auth: tuple[str, ...]) -> None:
    async with Lab([router(auth=auth)]) as lab:
        known = key_of(lab)
        lab.change_host_key("r1")
        async with alone():
            result = await visit(SshTransport(PATIENT), strictly(target(lab, "r1", known), policy))
        assert result.reason == "host_key_changed"
        assert result.login.told == []
        assert result.login.refused_keys == [key_of(lab)]
        assert known.fingerprint in result.detail
        assert key_of(lab).fingerprint in result.detail
        await quiet(lab)
        assert lab.log.secrets_seen("r1") == []
        assert "kex" not in lab.log.counts(), "not even the key exchange was finished"


async def test_strict_sends_nothing_to_a_device_that_is_not_on_record() -> None:
    async with Lab([router()]) as lab:
        result = await visit(SshTransport(PATIENT), strictly(target(lab)))
        assert result.reason == "host_key_unknown"
        assert key_of(lab).fingerprint in result.detail
        assert result.login.told == []
        await quiet(lab)
        assert lab.log.secrets_seen("r1") == []


async def test_the_key_changes_between_two_connections_of_one_run() -> None:
    """First seen, remembered, then another one: the second credential is not offered to whoever that is."""
    async with Lab([router()]) as lab:
        transport = SshTransport(PATIENT)
        first = await visit(transport, target(lab), NotedLogin("wrong"))
        assert first.reason == "auth_refused"
        remembered = key_of(lab)
        lab.change_host_key("r1")
        second = await visit(transport, target(lab, "r1", remembered), NotedLogin("right"))
        assert (second.reason, second.login.told) == ("host_key_changed", [])
        await quiet(lab)
        assert lab.log.secrets_seen("r1") == ["wrong"]


async def test_somebody_else_saw_another_key_first() -> None:
    """Two collectors meet a new device at once: the record decides, and no secret goes to the other key."""

    class Late(NotedLogin):
        async def new_host_key(self, key: HostKey) -> tuple[HostKey, ...]:
            await super().new_host_key(key)
            return (HostKey("ssh-ed25519", b"what another collector saw"),)

    async with Lab([router()]) as lab:
        login = Late()
        result = await visit(SshTransport(PATIENT), target(lab), login)
        assert result.reason == "host_key_changed"
        assert result.told == []
        await quiet(lab)
        assert lab.log.secrets_seen("r1") == []


async def test_a_key_that_cannot_be_remembered_gets_no_secret() -> None:
    class Stopped(NotedLogin):
        async def new_host_key(self, key: HostKey) -> tuple[HostKey, ...]:
            raise RecorderStopped("the disk is full")

    async with Lab([router()]) as lab:
        with pytest.raises(RecorderStopped, match="the disk is full"):
            await visit(SshTransport(PATIENT), target(lab), Stopped())
        await quiet(lab)
        assert lab.log.secrets_seen("r1") == []


async def test_a_device_that_gains_a_second_key_keeps_showing_the_known_one() -> None:
    known = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    gained = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(
        asyncssh.SSHServer, "127.0.0.1", 0, server_host_keys=[gained, known], gss_host=None
    )
    try:
        host, port = server.sockets[0].getsockname()[:2]
        on_record = HostKey(known.get_algorithm(), known.public_data)
        login = NotedLogin()
        shown = Target(Device("r1", host, "cisco_iosxe", port), (on_record,))
        result = await visit(SshTransport(PATIENT), strictly(shown), login)
        assert result.reason not in ("host_key_changed", "host_key_unknown")
    finally:
        server.close()
        await server.wait_closed()


async def test_a_changed_key_is_told_even_by_a_device_that_is_ill() -> None:
    async with Lab([router(ill=Ill("hung_login"))]) as lab:
        known = key_of(lab)
        lab.change_host_key("r1")
        async with asyncio.timeout(5):
            result = await visit(SshTransport(PATIENT), target(lab, "r1", known))
        assert result.reason == "host_key_changed"
        await quiet(lab)
