"""Credentials of different kinds on one device."""

from __future__ import annotations

import asyncssh

from netraven import CollectSettings, Credential, Device, NetRaven
from netraven.lab import Lab, LabDevice


async def test_a_key_on_a_device_that_takes_passwords_only_lets_the_password_try() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    router = LabDevice("r1", accepts={"netops": "right"})
    async with Lab([router]) as lab:
        host, port = lab.endpoint("r1")
        device = Device("r1", host, "cisco_iosxe", port, {"t"})
        credentials = [
            Credential("key", "netops", private_key=key, tags={"t"}, priority=1),
            Credential("password", "netops", "right", tags={"t"}, priority=2),
        ]
        settings = CollectSettings(retries=0)
        async with NetRaven.in_memory([device], credentials, settings=settings) as raven:
            (outcome,) = (await raven.collect()).outcomes
        async with NetRaven.in_memory([device], credentials[:1], settings=settings) as raven:
            (alone,) = (await raven.collect()).outcomes
        assert [attempt.password for attempt in lab.log.attempts()] == ["right"]
    assert (outcome.status, outcome.attempts, outcome.retry_count) == ("collected", 1, 0)
    assert outcome.credential is not None
    assert outcome.credential.name == "password"
    assert (alone.status, alone.reason, alone.attempts) == ("failed", "negotiation", 0)
