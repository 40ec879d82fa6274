"""Reads what an SSH server offers out of its KEXINIT packet. Pure, and bounded: the packet is the device's word."""

from __future__ import annotations

import re
from functools import lru_cache

from netraven.model import SshOffer

_COOKIE = 16
_MOST_NAMES = 100
_LONGEST_NAME = 64
"""RFC 4251 section 6."""
_LONGEST_VERSION = 255
"""RFC 4253 section 4.2."""
_NAME = re.compile(r"[!-+\--~]+")
_NOT_ALGORITHMS = ("ext-info-", "kex-strict-")
"""Marks that stand in the list of key exchanges and are none (RFC 8308, OpenSSH's PROTOCOL)."""


class Malformed(ValueError):
    """This is no KEXINIT packet."""


def read_offer(version: bytes, kexinit: bytes) -> SshOffer:
    """The offer of a server with this version string and KEXINIT packet (RFC 4253 section 7.1). Raises ``Malformed``.

    Ciphers and MACs are those of both directions, in the order of client to server.
    """
    return _read(version, kexinit[1 + _COOKIE :])  # without the random part: devices of one kind say the same


@lru_cache(maxsize=256)
def _read(version: bytes, lists: bytes) -> SshOffer:
    names: list[tuple[str, ...]] = []
    place = 0
    for _ in range(6):
        end = place + 4 + int.from_bytes(lists[place : place + 4], "big")
        if place + 4 > len(lists) or end > len(lists):
            raise Malformed("a name list goes beyond the packet")
        names.append(_names(lists[place + 4 : end]))
        place = end
    kex, host_keys, to_server, to_client, macs_to_server, macs_to_client = names
    return SshOffer(
        version=_printable(version),
        kex=tuple(name for name in kex if not name.startswith(_NOT_ALGORITHMS)),
        host_keys=host_keys,
        ciphers=tuple(name for name in to_server if name in to_client),
        macs=tuple(name for name in macs_to_server if name in macs_to_client),
    )


def _names(data: bytes) -> tuple[str, ...]:
    """The usable names of a list, each once; others are passed over, and so is what comes after a hundred of them."""
    names = data.decode("ascii", "replace").split(",", _MOST_NAMES)[:_MOST_NAMES]
    fitting = (name for name in names if len(name) <= _LONGEST_NAME and _NAME.fullmatch(name))
    return tuple(dict.fromkeys(fitting))


def _printable(version: bytes) -> str:
    text = version[:_LONGEST_VERSION].decode("ascii", "replace")
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)
