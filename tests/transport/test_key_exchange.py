"""Servers whose key exchange makes no sense: a failure of the device whatever asyncssh makes of it; nothing is sent."""

from __future__ import annotations

import struct

import pytest

from netraven.transport.ssh import SshTransport
from netraven.transport.ssh_scan import look
from tests.transport.rig import PATIENT, visit
from tests.transport.test_login import speaker

GROUP_EXCHANGE = b"diffie-hellman-group-exchange-sha256"


def packet(payload: bytes) -> bytes:
    padding = 16 - (len(payload) + 5) % 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def greeting(*payloads: bytes) -> bytes:
    """What a server says that offers group exchange only, and then these packets."""
    lists = (
        GROUP_EXCHANGE,
        b"ssh-ed25519",
        *[b"aes128-ctr"] * 2,
        *[b"hmac-sha2-256"] * 2,
        b"none",
        b"none",
        b"",
        b"",
    )
    offer = b"\x14" + bytes(16) + b"".join(map(string, lists)) + bytes(5)
    return b"SSH-2.0-Evil\r\n" + b"".join(map(packet, (offer, *payloads)))


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x1f" + string(b"\x00") + string(b"\x02"), b"\x1f" + string(b"") + string(b"")],
    ids=["empty packet", "modulus 0", "nothing"],
)
async def test_a_key_exchange_that_makes_no_sense(payload: bytes) -> None:
    async with speaker(greeting(payload), hang_up=False) as (target, _):
        result = await visit(SshTransport(PATIENT), target)
        assert result.reason == "negotiation"
        assert "makes no sense" in result.detail
        assert result.told == []
        assert (await look(target, 10.0)).problem
