"""The login dialogue of a shell without I/O: what a device has printed, and what is to be done next.

Nothing but the device's words tells how a login fares, so a question is believed only where it stands alone at the
very end, in a line that is not ended, and nothing follows for a while. What is typed is typed once: a question that
comes back is a refusal. Moves are asked for when the device has fallen quiet, so how its bytes are cut never matters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, IntEnum

from netraven.plain import plain_line
from netraven.platforms import Platform

BRIEF = 0.1
"""Seconds without a byte after which a verdict is believed that is beyond doubt: other devices may be waiting for it,
since few secrets of an account are in flight at once."""
QUIET = 0.3
"""The same for a question at the end."""
STILL = 2.0
"""The same before a line that is ended already is acted upon: it is no question, and more may come."""
_MOST_RETURNS = 3
"""How often the return key is pressed for a device that wants it before it goes on."""
_REACH = 16_384
"""Bytes of what the device printed last that are looked at."""
_LONGEST_LINE = 256
"""Characters; a longer line is neither a question nor a prompt."""
_LONGEST_REFUSAL = 100
"""Characters of a line that refuses; a longer one is part of somebody's prose."""

_CODE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^-~])")
_USER = re.compile(
    r"(?:(?!(?:last|previous|failed|successful|unsuccessful) )\S{1,64} )?login ?[:?]|login (?:name|id|as) ?:"
    r"|(?:enter )?(?:user(?:[ _-]?(?:name|id))?|account|userid) ?[:?]",
    re.IGNORECASE,
)
_PASSWORD = re.compile(
    r"(?:enter )?(?:(\S{1,64})'s )?(?:\((\S{1,64})\) )?(?:your |user |login |local )?"
    r"(?:password|passcode|passwd)(?: for (\S{1,64}))? ?[:?]",
    re.IGNORECASE,
)
"""Its groups are whose password is wanted, where the question says so."""
_PROMPT = re.compile(r"(?=.*\w)\S.{0,199}(?:[#>$]|(?<!\d)%)|.?[#>$%]|\[[\w.@:~*-]{1,128}\]")
_PRESS = re.compile(r"press\b.{0,40}\b(?:key|return|enter)\b", re.IGNORECASE)
_REFUSED = re.compile(
    r"(?:login|logon|username or password|user ?name|password)(?: is| was)?"
    r" (?:incorrect|invalid|failed|failure|denied|error|wrong)"
    r"|(?:incorrect|invalid|bad|wrong) (?:user ?name|user|login|logon|passwords?|credentials)"
    r"|(?:authentication|login|logon)(?: has)? (?:is )?(?:failed|failure|fail|rejected|denied|error|incorrect|invalid)"
    r"|access (?:is |was )?denied|permission denied|not authenticated",
    re.IGNORECASE,
)
_EXPIRED = re.compile(
    r"\b(?:new|old|current|retype|re-enter|confirm|verify)\b.{0,30}\bpassword\b.{0,40}[:?]\s*$"
    r"|\b(?:change|changed)\b.{0,60}\[?y(?:es)?/no?\]?.{0,4}$|password\b.{0,40}\bhas expired",
    re.IGNORECASE,
)


class Move(Enum):
    """What is to be done now."""

    WAIT = "wait"
    RETURN = "return"
    """Press the return key: the device waits for it."""
    USERNAME = "username"
    OFFER = "offer"
    """Ask for the secret, and type it if the device has not moved meanwhile."""
    IN = "in"
    """The shell is open: the secret was accepted, or none was wanted."""
    REFUSED = "refused"
    EXPIRED = "expired"
    """The device wants a new password in place of the one that it was given."""
    NOT_ASKED = "not asked"
    """It does not ask for a password."""


class Stage(IntEnum):
    START = 0
    NAMED = 1
    """The user name was typed."""
    OFFERED = 2
    """The secret was typed."""


_UNKNOWN = Platform("unknown")
"""Where the dialect is still to be found out, the usual questions have to do."""


class LoginDialogue:
    """One login."""

    def __init__(self, platform: Platform | None, username: str, prompts: Sequence[str] = ()) -> None:
        """``prompts``: regular expressions of the platform's prompts, beside those that its data holds."""
        platform = platform or _UNKNOWN
        self._username = username
        self.stage = Stage.START
        self._user = _also(_USER, platform.telnet_login)
        self._password = _also(_PASSWORD, platform.telnet_password)
        self._refused = _also(_REFUSED, platform.telnet_refused)
        levels = [level.prompt for level in platform.levels]
        self._prompt = _also(_PROMPT, platform.prompt, *levels, *prompts)
        self._heard = bytearray()
        self._secret = ""
        self._returns = 0
        self._fresh_line = True
        """Whether what the device prints next begins on a line of its own, and not behind an echo."""

    def heard(self, data: bytes) -> None:
        """The device has printed something."""
        self._heard += data
        if len(self._heard) > 2 * _REACH:
            del self._heard[:-_REACH]

    def username_typed(self) -> None:
        self.stage = Stage.NAMED
        self._fresh_line = False
        self._heard.clear()

    def secret_typed(self, secret: str) -> None:
        """``secret`` is needed to tell its echo, where the device has one, from what the device says."""
        self.stage = Stage.OFFERED
        self._fresh_line = False
        self._secret = secret
        self._heard.clear()

    def return_pressed(self) -> None:
        self._returns += 1
        self._fresh_line = True
        self._heard.clear()

    @property
    def said(self) -> str:
        """The last line that says something, fit for a message; empty where it may hold the secret."""
        line = next((line for line in reversed(self._lines()) if line.strip()), "")
        return "" if self._secret and self._secret in line else plain_line(line, 120)

    @property
    def greeting(self) -> bytes:
        """What the session has still to read: all since the last thing that was typed, without its echo."""
        return self._text().encode("utf-8", "surrogateescape")

    @property
    def asks_something_else(self) -> bool:
        """Whether the device waits, at the place of the question for a password, at something else."""
        return self.stage is Stage.NAMED and self._on_its_own_line() and bool(self._lines()[-1].strip())

    def refusal(self) -> str | None:
        """The line that refuses the secret, None where there is none; where it may hold the secret, it is empty."""
        if self.stage is not Stage.OFFERED:
            return None
        for line in self._lines():
            if len(line) <= _LONGEST_REFUSAL and self._refused.search(line):
                return "" if self._secret and self._secret in line else plain_line(line, 120)
        return None

    def move(self, quiet: float) -> Move:
        """What to do, now that the device has been quiet for so long; ``STILL`` is the longest that matters."""
        last = self._lines()[-1].strip()
        if len(last) > _LONGEST_LINE:
            return Move.WAIT
        if self.stage is Stage.OFFERED:
            return self._verdict(last, quiet)
        return Move.WAIT if quiet < QUIET else self._answer(last, still=quiet >= STILL)

    def _answer(self, last: str, *, still: bool) -> Move:
        if _PRESS.search(last):
            return self._press()
        if question := self._password.fullmatch(last):
            return Move.OFFER if self._asks_for_ours(question) else Move.WAIT
        if self._user.fullmatch(last):
            return Move.USERNAME if self.stage is Stage.START else Move.NOT_ASKED
        if self._prompt.fullmatch(last) and self._on_its_own_line():
            return Move.IN if still else Move.WAIT
        if still and not last and self.stage is Stage.START and not self._returns:
            return self._press()
        return Move.WAIT

    def _verdict(self, last: str, quiet: float) -> Move:
        refused = self.refusal() is not None
        if self._user.fullmatch(last) or self._password.fullmatch(last):
            return Move.REFUSED if refused or quiet >= QUIET else Move.WAIT
        if self._prompt.fullmatch(last) and self._on_its_own_line():
            return Move.IN
        if quiet < QUIET:
            return Move.WAIT
        if _EXPIRED.search(last):
            return Move.EXPIRED
        if refused:
            return Move.REFUSED if quiet >= STILL else Move.WAIT  # a message of the day speaks like that too
        return self._press() if _PRESS.search(last) else Move.WAIT

    def _asks_for_ours(self, question: re.Match[str]) -> bool:
        """Whether the password of this user is wanted, as far as the question says; ``user@host`` is one too."""
        named = [name.strip("'\"") for name in question.groups()[: _PASSWORD.groups] if name]
        return all(self._username in (name, name.partition("@")[0]) for name in named)

    def _press(self) -> Move:
        return Move.RETURN if self._returns < _MOST_RETURNS else Move.WAIT

    def _on_its_own_line(self) -> bool:
        """Whether a line was ended since something was typed: what stands before that is its echo."""
        return self._fresh_line or len(self._lines()) > 1

    def _text(self) -> str:
        """All since something was typed; where that line holds the secret, which is an echo, without it."""
        text = self._heard.decode("utf-8", "surrogateescape")
        if not self._secret:
            return text
        first = re.match(r"[^\r\n]*", text).group()  # type: ignore[union-attr]  # it matches everything
        is_echo = self._secret in first or (first == text and self._secret.startswith(text))
        return text[len(first) :] if is_echo else text

    def _lines(self) -> list[str]:
        """At least one; the last one is not ended."""
        return re.split(r"[\r\n]+", _CODE.sub("", self._text().replace("\x00", "").replace("\x07", "")))


def _also(usual: re.Pattern[str], *more: str | None) -> re.Pattern[str]:
    """The usual pattern, or one of the platform's own; lines are looked at without the blanks around them."""
    told = [pattern.strip() for pattern in more if pattern]
    if not told:
        return usual
    return re.compile("|".join(f"(?:{pattern})" for pattern in (usual.pattern, *told)), re.IGNORECASE)
