"""An sshd that knows only what devices of twenty years ago knew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance import openssh, small_device
from tests.acceptance.at_the_prompt import Operator
from tests.acceptance.system import User

pytestmark = [pytest.mark.sshd, pytest.mark.slow, pytest.mark.xdist_group("old_ssh")]


async def test_weak_algorithms_where_they_are_allowed_and_nowhere_else(
    operator: Operator, tmp_path: Path, user: User, script: Path
) -> None:
    options = (*openssh.LEGACY, f"ForceCommand {script}")
    async with openssh.running(tmp_path / "sshd", user, *options, host_key="rsa") as sshd:
        await operator.device("r1", sshd.port, "cisco_iosxe", "fleet")
        await operator.password("netops", user.name, "fleet", user.password)

        refused = (await operator.collect())["r1"]
        assert (refused["status"], refused["reason"], refused["attempts"]) == ("failed", "negotiation", 0)
        assert "diffie-hellman-group14-sha1" in refused["detail"], "it says what the device offers"
        assert "legacy" in refused["detail"], "and what would allow it"
        assert not sshd.said(r"(?:Failed|Accepted) ")

        operator.settings("[tags.fleet]\nlegacy = true")
        first = (await operator.collect())["r1"]
        assert (first["status"], first["attempts"]) == ("collected", 1), first
        assert await operator.text("r1") == small_device.CONFIG

        before = sshd.connections
        second = (await operator.collect())["r1"]
        assert second["status"] == "collected", second
        assert sshd.connections - before == 1, "what was learned costs one handshake"
        assert not sshd.said(r"Failed \w+")

        weak = await operator.netraven("device", "ssh", "r1")
        assert weak.code == 0
        for name in ("diffie-hellman-group14-sha1", "ssh-rsa", "aes128-cbc", "hmac-sha1"):
            assert name in weak.out


async def test_a_modern_device_is_not_weakened_by_being_allowed_to_be(
    operator: Operator, tmp_path: Path, user: User, script: Path
) -> None:
    """Weak algorithms are what is left, not what is first: here the server would take either."""
    options = ("Ciphers +aes128-cbc", "KexAlgorithms +diffie-hellman-group14-sha1", "LogLevel DEBUG1")
    async with openssh.running(tmp_path / "sshd", user, *options, f"ForceCommand {script}") as sshd:
        await operator.device("r1", sshd.port, "cisco_iosxe", "fleet")
        await operator.password("netops", user.name, "fleet", user.password)
        operator.settings("[tags.fleet]\nlegacy = true")
        assert (await operator.collect())["r1"]["status"] == "collected"
        assert sshd.connections == 1
        chosen = sshd.said(r"kex: (?:algorithm: |client->server cipher: )(\S+)")
        assert chosen
        assert not {"aes128-cbc", "diffie-hellman-group14-sha1"} & set(chosen)
