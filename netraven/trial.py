"""One device collected with a platform that is being written: guarded and on record as ever, but nothing is stored.

The dialogue is told in lines, without the secrets that were handed over and those that are found in configurations:
by the platform's own ``secrets``, and by the rules for all platforms.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from netraven.app import NetRaven
from netraven.assembly import access_rules, open_store, transport_for
from netraven.config import Settings
from netraven.errors import InputError
from netraven.history.rules import HIDDEN, Rules
from netraven.model import Capture, Credential, Outcome, Secret, Target
from netraven.platforms import Catalogue, Platform
from netraven.ports import Login, Session, Transport, Tunnel

Tell = Callable[[str, str], None]
"""Called with ``out`` or ``in``, and a line."""
_LONGEST_LINE = 1 << 16
"""Bytes after which a line that does not end is told all the same."""
_MOST_HELD_BACK = 1 << 20
"""Bytes after which lines are told although the direction has not turned."""
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|[#>$%] ?$")
"""The last line of a private key (RFC 7468), or a prompt: the key was cut off."""


class Trial:
    """What came of it. ``captures``: what would have been stored."""

    def __init__(self, platform: Platform, tell: Tell) -> None:
        self.platform = platform
        self.captures: tuple[Capture, ...] = ()
        self.dialogue = _Dialogue(Rules.of(platform), tell)

    async def run(self, settings: Settings, device: str, *, credential: str | None = None) -> Outcome:
        """Raises ``InputError`` for a device or a credential that is not there."""
        async with open_store(settings) as store:
            store.tell_nobody()  # a person is watching, and tries it twenty times
            shown: Any = store
            if credential is not None:
                shown = _OneCredential(store, credential, device)
                await shown.check()
            transport = transport_for(
                settings.collect,
                Catalogue(settings.platforms_folder).with_platform(self.platform),
                watch=self.dialogue.bytes_passed,
            )
            raven = NetRaven(
                store=shown,
                transport=_TrialTransport(transport, self),
                settings=replace(settings.collect, retries=0),
                realms=settings.realms,
                access=access_rules(settings),
                jump=settings.jump,
            )
            report = await raven.collect(names=[device])
            self.dialogue.flush()
            return report.outcomes[0]


class _OneCredential:
    """The store, with one credential to offer to the device; jump hosts on the way are offered theirs."""

    def __init__(self, store: Any, name: str, device: str) -> None:
        self._store = store
        self._name = name
        self._device = device

    async def check(self) -> None:
        if all(one.name != self._name for one in await self._store.credentials()):
            raise InputError(f"no such credential: {self._name!r}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def credentials(self) -> Sequence[Credential]:
        tags = (await self._store.inventory.get(self._device)).device.tags
        return [
            one if one.name == self._name else replace(one, tags=one.tags - tags)
            for one in await self._store.credentials()
        ]


class _TrialTransport:
    """Gives every device the platform on trial, and keeps what it collects out of the store."""

    def __init__(self, transport: Transport, trial: Trial) -> None:
        self._transport = transport
        self._trial = trial

    @asynccontextmanager
    async def open(self, target: Target, login: Login, via: Tunnel | None = None) -> AsyncIterator[Session]:
        device = replace(target.device, platform=self._trial.platform.name)
        heard: Any = _HeardLogin(login, self._trial.dialogue)
        async with self._transport.open(replace(target, device=device), heard, via) as session:
            yield _TrialSession(session, self._trial)

    def tunnel(
        self, target: Target, login: Login, via: Tunnel | None = None
    ) -> AbstractAsyncContextManager[Tunnel]:
        return self._transport.tunnel(target, login, via)

    async def knock(self, target: Target, via: Tunnel | None = None) -> str:
        return await self._transport.knock(target, via)


class _TrialSession:
    platform_found: str | None = None

    def __init__(self, session: Session, trial: Trial) -> None:
        self._session = session
        self._trial = trial

    def facts(self, captures: Sequence[Capture]) -> Mapping[str, str]:  # noqa: ARG002 - as every session's
        return {}

    async def capture(self, *, enable: str | None, kinds: Sequence[str] | None = None) -> Sequence[Capture]:
        self._trial.dialogue.hide(enable)
        self._trial.captures = tuple(await self._session.capture(enable=enable, kinds=kinds))
        return ()

    async def prove(self, *, enable: str | None) -> None:
        self._trial.dialogue.hide(enable)
        await self._session.prove(enable=enable)


class _HeardLogin:
    """The login, whose secrets are never to be shown."""

    def __init__(self, login: Login, dialogue: _Dialogue) -> None:
        self._login = login
        self._dialogue = dialogue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._login, name)

    async def secret(self) -> Secret:
        secret = await self._login.secret()
        self._dialogue.hide(secret.password, secret.enable)
        return secret

    async def another(self) -> Secret | None:
        secret = await self._login.another()
        if secret is not None:
            self._dialogue.hide(secret.password, secret.enable)
        return secret


class _Dialogue:
    """Makes lines of the bytes of each direction, and tells them once the direction turns.

    A secret that was cut in two is whole again by then, also one that goes over several lines. A private key is hidden
    line by line: a pager may have cut it.
    """

    def __init__(self, rules: Rules, tell: Tell) -> None:
        self._rules = rules
        self._tell = tell
        self._words: set[str] = set()
        self._direction = "in"
        self._rest = b""
        self._lines: list[str] = []
        self._size = 0
        self._in_key = False

    def hide(self, *words: str | None) -> None:
        self._words.update(word for word in words if word)

    def bytes_passed(self, direction: str, data: bytes) -> None:
        if direction != self._direction:
            self.flush()
            self._direction = direction
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > _LONGEST_LINE:
            self._line(self._rest)
            self._rest = b""
        if self._size > _MOST_HELD_BACK:
            self._say()

    def flush(self) -> None:
        """Everything is to be told, and the line that has not ended: a prompt, for one."""
        rest, self._rest = self._rest, b""
        if rest:
            self._line(rest)
        self._say()

    def _line(self, data: bytes) -> None:
        self._lines.append(data.decode("utf-8", "surrogateescape").rstrip("\r"))
        self._size += len(data) + 1

    def _say(self) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        if not lines:
            return
        text = "\n".join(map(self._without_key, lines))
        for word in sorted(self._words, key=len, reverse=True):
            text = text.replace(word, HIDDEN)
        text = self._rules.shown(text, _hidden)
        for line in text.split("\n"):
            self._tell(self._direction, line)

    def _without_key(self, line: str) -> str:
        if self._direction == "in":
            if _KEY_ENDS.search(line):
                self._in_key = False
            elif self._in_key:
                return HIDDEN
            elif _KEY_BEGINS.search(line):
                self._in_key = True
        return line


def _hidden(_: str) -> str:
    """In place of a mark: what is tried out is compared with nothing."""
    return HIDDEN
