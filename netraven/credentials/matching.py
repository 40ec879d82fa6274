"""Which credentials match a device: those that share a tag with it."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from netraven.model import Credential, Device


class CredentialIndex:
    """Credentials by tag, so that matching costs a device's tags and not the number of credentials."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        self._by_tag: dict[str, list[Credential]] = {}
        self._cache: dict[AbstractSet[str], tuple[Credential, ...]] = {}
        for credential in sorted(credentials, key=_place):
            for tag in credential.tags:
                self._by_tag.setdefault(tag, []).append(credential)

    def matching(self, device: Device) -> tuple[Credential, ...]:
        """Every credential that shares a tag with the device, once, by name.

        A previous secret that is kept is one of them: it comes right after the current one of its name.
        """
        found = self._cache.get(device.tags)
        if found is None:
            by_key = {c.key: c for tag in device.tags for c in self._by_tag.get(tag, ())}
            found = self._cache[device.tags] = tuple(sorted(by_key.values(), key=_place))
        return found


def _place(credential: Credential) -> tuple[str, int]:
    return (credential.name, -credential.secret_version)
