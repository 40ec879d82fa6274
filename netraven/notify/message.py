"""What a hook is told, and what came back. Ways to tell it (webhook, command, mail) turn one into the other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from netraven.model import Event


@dataclass(frozen=True, slots=True)
class ChangedOutput:
    """A new version of one output of a device. ``diff`` is a unified difference, secrets as marks; it is empty where
    there was no version before, where it is not wanted, and where ``problem`` says why there is none.
    """

    kind: str = ""
    """Empty where not even that can be read."""
    number: int | None = None
    previous: int | None = None
    added: int = 0
    removed: int = 0
    diff: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way to one hook. ``event`` is None for a test."""

    uid: str
    hook: str
    at: datetime
    event: Event | None = None
    changes: tuple[ChangedOutput, ...] = ()
    parts: tuple[Message, ...] = ()
    """Of the end of a run that is told in one with what happened in it: what happened."""
    more: bool = False
    """Whether there were more parts than these."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a try went. ``said`` is one harmless line without secrets, for a person."""

    said: str
    delivered: bool = False
    permanent: bool = False
    """Whether the same will never be taken, however often it is sent."""
    retry_after: float | None = None
    """Seconds that the receiver asks to be left alone."""


class Way(Protocol):
    """A way to tell a hook something."""

    together: int
    """How many messages may be on their way at once."""
    longest: float
    """Seconds after which a try has ended, whatever happens."""

    async def tell(self, message: Message) -> Answer:
        """Try once. Expected failures are answers; raises nothing but what is a fault of ours."""
