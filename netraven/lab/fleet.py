"""Fleets made to order: sites, roles, and users that each open an exact share of the devices."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from netraven.lab.dialects import DIALECTS
from netraven.lab.model import WELL, Ill, LabDevice

_T = TypeVar("_T")

SITES = ("ams1", "ber2", "fra4", "lis1", "osl1", "waw1")
ROLES = ("core", "dist", "edge", "access")
_SHARES = {"tacacs": 0.7, "local": 0.2, "legacy": 0.1}


@dataclass(frozen=True, slots=True)
class LabLogin:
    """A credential as its owner would enter it: it matches every device that it opens, and others too."""

    name: str
    username: str
    password: str = field(repr=False)
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    devices: tuple[LabDevice, ...]
    logins: tuple[LabLogin, ...]

    @property
    def opened_by(self) -> dict[str, str]:
        """Device name to the one user name that it accepts."""
        return {device.name: next(iter(device.accepts)) for device in self.devices}


def fleet(
    count: int,
    *,
    seed: int = 0,
    shares: Mapping[str, float] | None = None,
    dialects: Sequence[str] = tuple(DIALECTS),
    ills: Mapping[Ill, float] | None = None,
    think: float = 0.0,
    config_size: int = 8192,
) -> Fleet:
    """`count` devices; each accepts one user, in exactly these shares; an exact share has each illness.

    A login's tags are all roles but one, so the logins overlap: most devices match several, only one of which
    is accepted. With a single login it has all the roles. The same arguments give the same fleet.
    """
    rng = random.Random(f"fleet/{seed}/{count}")
    users = _apportion(count, shares or _SHARES, rng)
    sick = dict(ills or {})
    ailments = _apportion(count, {**sick, WELL: max(0.0, 1.0 - sum(sick.values()))}, rng)
    logins = tuple(
        _login(name, number, seed, len(shares or _SHARES)) for number, name in enumerate(shares or _SHARES)
    )
    by_user = {login.username: login for login in logins}
    devices = []
    for number, (user, ill) in enumerate(zip(users, ailments, strict=True)):
        login = by_user[user]
        site, role = rng.choice(SITES), rng.choice(login.tags)
        devices.append(
            LabDevice(
                name=f"{site}-{role}-{number + 1:0{len(str(count))}d}",
                accepts={login.username: login.password},
                dialect=dialects[number % len(dialects)],
                ill=ill,
                think=think,
                config_size=config_size,
                tags=(site, role),
            )
        )
    return Fleet(tuple(devices), logins)


def _login(name: str, number: int, seed: int, of: int) -> LabLogin:
    word = hashlib.sha256(f"netraven lab password/{seed}/{name}".encode()).hexdigest()[:20]
    roles = tuple(role for place, role in enumerate(ROLES) if of == 1 or place != number % len(ROLES))
    return LabLogin(name, name, word, roles)


def _apportion(count: int, shares: Mapping[_T, float], rng: random.Random) -> list[_T]:
    """Largest remainders: the parts add up to `count` and none is off by one or more. Shuffled."""
    total = sum(shares.values())
    exact = {key: count * share / total for key, share in shares.items()}
    parts = {key: int(value + 1e-9) for key, value in exact.items()}
    for key in sorted(exact, key=lambda key: parts[key] - exact[key])[: count - sum(parts.values())]:
        parts[key] += 1
    placed = [key for key, part in parts.items() for _ in range(part)]
    rng.shuffle(placed)
    return placed
