"""A platform: what has to be known of one device dialect. Facts only, all of them from data files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

RUNNING = "running"
"""The kind of output that every platform has: the configuration in force."""


@dataclass(frozen=True, slots=True)
class Output:
    """One thing to collect. ``kind`` names it in the store (``running``, ``startup``, ``version`` ...)."""

    kind: str
    command: str
    level: str | None = None
    """The privilege level that the command needs, where it is not the platform's own."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something about the device that an output tells. The first group of ``pattern`` is the value."""

    name: str
    """``version``, ``serial``, ``model``."""
    kind: str
    """The output to look in."""
    pattern: re.Pattern[str]
    """Searched with ``^`` and ``$`` at line ends."""


@dataclass(frozen=True, slots=True)
class Level:
    """A privilege level of a dialect that scrapli has no driver for. Texts are regular expressions but the commands."""

    name: str
    prompt: str
    enter: str | None = None
    """The command that leads here from ``above``; None for the level that a login lands in."""
    asks: str | None = None
    """The question for the enable secret, where the device asks one."""
    above: str | None = None
    """The level that ``enter`` is typed in."""
    leave: str | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """How ``platform = auto`` knows the dialect. Texts are regular expressions; what is None says nothing."""

    banner: re.Pattern[str] | None = None
    """Of the SSH version string of the server, its banner, or the greeting."""
    prompt: re.Pattern[str] | None = None
    command: str | None = None
    """A command that changes nothing ..."""
    answer: re.Pattern[str] | None = None
    """... and what its answer holds."""
    rank: int = 100
    """Of two that fit, the lower one is meant."""


@dataclass(frozen=True, slots=True)
class Platform:
    """How to collect from one dialect."""

    name: str
    outputs: Mapping[str, Output] = field(default_factory=dict)
    """By kind. :data:`RUNNING` is always there, but for platforms that nothing is collected from."""
    collect: tuple[str, ...] = (RUNNING,)
    """The kinds that are collected where nobody says otherwise."""
    title: str = ""
    """As people call it: ``Cisco IOS XE``."""
    driver: str | None = None
    """The scrapli platform that knows its prompts, levels and paging. None where the fields below do."""
    variant: str | None = None
    """The driver's variant."""
    # ---- without a driver ----
    prompt: str | None = None
    """Regular expression of a whole prompt, where there is one level only."""
    levels: tuple[Level, ...] = ()
    level: str | None = None
    """The level that commands need; the driver's own where it is None."""
    on_open: tuple[str, ...] = ()
    """Commands after the login; with a driver, after its own. An error that they print is not looked at."""
    # ---- both ----
    pager: re.Pattern[str] | None = None
    """What a device shows that waits for a key before the next page, at the end of what it sent."""
    pager_key: str = " "
    errors: tuple[str, ...] = ()
    """Texts in the first lines of an answer by which the device rejects a command, beside those of the driver."""
    volatile: tuple[re.Pattern[str], ...] = ()
    """Lines (or parts of lines) of outputs that change by themselves."""
    unordered: tuple[re.Pattern[str], ...] = ()
    """Lines whose order says nothing: neighbours that match the same one are compared sorted."""
    secrets: tuple[re.Pattern[str], ...] = ()
    """Lines that hold a secret: it is the group ``secret``. Beside them there is what is secret everywhere."""
    facts: tuple[Fact, ...] = ()
    logout: str | None = None
    """Typed before hanging up on a device that wants it; None: the connection is closed."""
    return_char: str = "\n"
    command_timeout: float | None = None
    """Seconds for each command; None: what settings say."""
    detection: tuple[Detection, ...] = ()
    username_suffix: str = ""
    """What is put behind the user name when the login is over SSH; RouterOS reads terminal options there."""
    login_in_shell: bool = False
    """Whether its SSH lets everybody in, and the shell asks for user name and password."""
    telnet_login: str | None = None
    """Regular expression of the shell's question for a user name, where it is no usual one."""
    telnet_password: str | None = None
    telnet_refused: str | None = None
    """What the device prints when it refuses a login, where it is nothing usual."""
    tested: str = "dialogue"
    """How we tested it: ``dialogue`` (one that we wrote), ``lab`` (our simulator), ``server`` (a program of others)."""
    origin: str = "shipped"
    """``shipped``, or the user's file that it was read from."""

    @property
    def collects(self) -> bool:
        """Whether there is anything to collect; a jump host only lets through."""
        return bool(self.outputs)

    @property
    def config(self) -> str:
        """The command that prints the configuration in force."""
        return self.outputs[RUNNING].command
