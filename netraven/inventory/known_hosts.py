"""OpenSSH's known_hosts, read (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). Nothing is looked up and nothing is written."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from netraven.model import Device, HostKey
from netraven.model.hosts import host_matches
from netraven.plain import plain_line

Marker = Literal["", "authority", "revoked"]
_MARKERS: dict[str, Marker] = {"@cert-authority": "authority", "@revoked": "revoked"}
KEY_TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-ed448",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "ssh-rsa",
        "ssh-dss",
    }
)
"""The host keys that NetRaven can be shown."""
_HASHED = "|1|"
_SHOWN = 20
"""Bad lines that are named."""


@dataclass(frozen=True, slots=True)
class KnownHost:
    """One line: a key, and the names that it is for, as patterns or as the salted hash of one name."""

    line: int
    names: str
    key: HostKey
    marker: Marker = ""

    @property
    def hashed(self) -> bool:
        return self.names.startswith(_HASHED)


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """A file. ``bad``: what is wrong, by line; ``unknown``: types of keys that NetRaven does not know, by line."""

    hosts: tuple[KnownHost, ...] = ()
    bad: Mapping[int, str] = field(default_factory=dict)
    unknown: Mapping[int, str] = field(default_factory=dict)

    def complaint(self) -> str | None:
        """Everything that is wrong, one line each."""
        if not self.bad:
            return None
        lines = [f"  line {number}: {what}" for number, what in list(self.bad.items())[:_SHOWN]]
        more = [f"  and {len(self.bad) - _SHOWN:,} more"] if len(self.bad) > _SHOWN else []
        return "\n".join(["", *lines, *more])


def parse_known_hosts(text: str) -> KnownHosts:
    """Every line of the file; empty lines and comments say nothing."""
    hosts: list[KnownHost] = []
    bad: dict[int, str] = {}
    unknown: dict[int, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            host = _host(number, line)
        except ValueError as error:
            bad[number] = str(error)
            continue
        if host.key.algorithm in KEY_TYPES:
            hosts.append(host)
        else:
            unknown[number] = plain_line(host.key.algorithm, 60)
    return KnownHosts(tuple(hosts), bad, unknown)


def _host(number: int, line: str) -> KnownHost:
    words = line.split()
    marker: Marker = ""
    if words[0].startswith("@"):
        if words[0] not in _MARKERS:
            raise ValueError(
                f"unknown marker {plain_line(words[0], 40)!r}; there are @cert-authority and @revoked"
            )
        marker = _MARKERS[words.pop(0)]
    if len(words) < 3:
        raise ValueError("names, a key type and a key belong on a line")
    names, algorithm, encoded = words[:3]
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the key is not base64") from None
    if blob[4 : 4 + int.from_bytes(blob[:4], "big")] != algorithm.encode("ascii", "replace") or len(blob) < 8:
        raise ValueError(f"the key is not of the type {plain_line(algorithm, 60)!r} that stands before it")
    if names.startswith("|"):
        _salt_and_digest(names)
    return KnownHost(number, names, HostKey(algorithm, blob), marker)


def _salt_and_digest(names: str) -> tuple[bytes, bytes]:
    parts = names.split("|")
    try:
        if len(parts) != 4 or parts[1] != "1":
            raise ValueError
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
        if len(digest) != 20:
            raise ValueError
    except (binascii.Error, ValueError):
        raise ValueError("a hashed name is |1|SALT|HASH") from None
    return salt, digest


def names_of(device: Device) -> tuple[str, ...]:
    """What known_hosts may call a device: its host with its port, and its name with and without."""
    return tuple(
        dict.fromkeys(
            [_with_port(device.host, device.port), _with_port(device.name, device.port), device.name.lower()]
        )
    )


def _with_port(host: str, port: int) -> str:
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


class Names:
    """The devices of an inventory by what known_hosts may call them."""

    def __init__(self, devices: Iterable[Device]) -> None:
        self._by_name: dict[str, list[Device]] = {}
        self._devices: list[Device] = []
        for device in devices:
            self._devices.append(device)
            for name in names_of(device):
                self._by_name.setdefault(name, []).append(device)
        self._encoded = [(name.encode(), devices) for name, devices in self._by_name.items()]
        self._last = 0
        """Where the last hash was found."""

    def of(self, host: KnownHost) -> Sequence[Device]:
        """The devices that a line speaks of, each once."""
        if host.hashed:
            return self._hashed(host)
        words = [word for word in host.names.lower().split(",") if word]
        if any(letter in word for word in words for letter in "*?!"):
            return [device for device in self._devices if self._fits(host.names, device)]
        found = {d.name: d for word in words for d in self._by_name.get(word, ())}
        return list(found.values())

    @staticmethod
    def _fits(patterns: str, device: Device) -> bool:
        return any(
            host_matches(patterns, name, port)
            for name, port in ((device.host, device.port), (device.name, device.port), (device.name, 22))
        )

    def _hashed(self, host: KnownHost) -> Sequence[Device]:
        """A hash is of one name: every name has to be tried, as ssh does too.

        Lines often stand in the order of the inventory, several for one host: the search goes on where it last found.
        """
        salt, digest = _salt_and_digest(host.names)
        count = len(self._encoded)
        for step in range(count):
            place = (self._last + step) % count
            name, devices = self._encoded[place]
            if hmac.compare_digest(hmac.digest(salt, name, "sha1"), digest):
                self._last = place
                return devices
        return []
