"""How each device is reached: what holds for all, what its tags say, what is said of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from netraven.errors import InputError
from netraven.model import Access, Device

Words = Mapping[str, Any]
"""Fields of :class:`netraven.model.Access` by name, those that are told."""
_SSH, _TELNET = 22, 23


class AccessRules:
    """Answers for one device at a time. A device's own words win over its tags'; of two tags, the later rule wins.

    ``tags``: in the order in which they stand in the settings. ``devices``: by name.
    """

    def __init__(
        self,
        defaults: Access = Access(),
        tags: Mapping[str, Words] | None = None,
        devices: Mapping[str, Words] | None = None,
    ) -> None:
        self._defaults = defaults
        self._tags = dict(tags or {})
        self._devices = dict(devices or {})
        self._by_tags: dict[tuple[str, ...], Access] = {}

    def of(self, device: Device) -> Access:
        tags = tuple(tag for tag in self._tags if tag in device.tags) if self._tags else ()
        access = self._by_tags.get(tags)
        if access is None:
            access = self._defaults
            for tag in tags:
                access = replace(access, **self._tags[tag])
            self._by_tags[tags] = access
        own = self._devices.get(device.name) if self._devices else None
        return replace(access, **own) if own else access

    @property
    def tags(self) -> AbstractSet[str]:
        """Those that rules speak of."""
        return self._tags.keys()

    @property
    def devices(self) -> AbstractSet[str]:
        """Those that rules speak of, by name."""
        return self._devices.keys()

    def jump_hosts(self) -> Mapping[str, str]:
        """Every jump host that a rule names, and which rule (``tags.dc1``)."""
        named: dict[str, str] = {}
        for where, words in self._all():
            for name in words.get("jump", ()):
                named.setdefault(name, where)
        return named

    def outputs(self) -> Mapping[str, str]:
        """Every kind of output that is asked for, and by which rule; the defaults are ``collect``."""
        asked = dict.fromkeys(self._defaults.outputs or (), "collect")
        for where, words in self._all():
            for kind in words.get("outputs", ()):
                asked.setdefault(kind, where)
        return asked

    def ever(self, field: str, value: object) -> bool:
        """Whether any rule, or the defaults, say this of a field."""
        return getattr(self._defaults, field) == value or any(
            words.get(field) == value for _, words in self._all()
        )

    def longest(self, timeout: str) -> float:
        """The longest of ``connect_timeout``, ``login_timeout`` ... that is told anywhere; 0 where none is."""
        told = [getattr(self._defaults, timeout), *(words.get(timeout) for _, words in self._all())]
        return max((seconds for seconds in told if seconds is not None), default=0.0)

    def chain(self, device: Device, jump_hosts: Mapping[str, Device]) -> tuple[str, ...]:
        """The names of the jump hosts on the way to ``device``, the outermost first; those of jump hosts included.

        Raises ``InputError`` where a jump host is not in the inventory or is reached through itself.
        """
        return self._chain(device, jump_hosts, (device.name,))

    def _chain(
        self, device: Device, jump_hosts: Mapping[str, Device], behind: tuple[str, ...]
    ) -> tuple[str, ...]:
        told = self.of(device).jump
        if not told:
            return ()
        for name in told:
            if name in behind or told.count(name) > 1:
                raise InputError(
                    f"jump host {name!r} is reached through itself: {' <- '.join((*behind, name))}"
                )
            if name not in jump_hosts:
                raise InputError(
                    f"jump host {name!r} is not in the inventory: import it with the platform jump_host"
                )
        outermost = self._chain(jump_hosts[told[0]], jump_hosts, (*behind, *reversed(told)))
        return (*outermost, *told)

    def _all(self) -> Iterator[tuple[str, Words]]:
        yield from ((f"tags.{name}", words) for name, words in self._tags.items())
        yield from ((f"devices.{name}", words) for name, words in self._devices.items())


def telnet_port(access: Access, device: Device) -> int:
    """The port that settings say; else the device's own, where that is not SSH's."""
    if access.telnet_port is not None:
        return access.telnet_port
    own = access.transport == "telnet" and device.port != _SSH
    return device.port if own else _TELNET
