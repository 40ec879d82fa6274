"""How each simulated operating system speaks: prompts, commands, errors. Data only; `shell` interprets it.

Sources: the vendors' command references; the prompt forms are those that scrapli's core drivers match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Dialect:
    """Templates may use {name}, {user}, {now} (a time stamp in the dialect's form), {size} (bytes)."""

    name: str
    user_prompt: str
    """`user_prompt` is where `disable` leads; equal to `prompt` where there is no such level."""
    prompt: str
    config_prompt: str
    commands: Mapping[str, str]
    """Spelling to action. `|` in a word marks the shortest form understood, `#` stands for a number."""
    error: str
    """What an unknown command gets. {indent} spaces reach the first character of what was typed."""
    more: str
    version: str
    greeting: str = ""
    header: str = ""
    """Printed before a generated configuration; never before one that was given."""
    stamp: str = ""
    """Printed before the output of every command (IOS-XR)."""
    footer: str = ""
    now: str = "%a %b %d %H:%M:%S %Y"
    wrong_enable: str = "% Bad secrets\n\n"
    config_entered: str = ""
    config_left: str = ""
    pipes: tuple[str, ...] = ("no-more",)
    _spellings: tuple[tuple[re.Pattern[str], str], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        compiled = tuple((_spelling(text), action) for text, action in self.commands.items())
        object.__setattr__(self, "_spellings", compiled)

    @property
    def has_enable(self) -> bool:
        return self.user_prompt != self.prompt

    def action(self, line: str) -> tuple[str, str]:
        """What a typed line means, with its number if it has one; `unknown` if nothing."""
        return _action(self.name, line)

    def find(self, line: str) -> tuple[str, str]:
        command, _, pipe = (part.strip() for part in line.partition("|"))
        if pipe and pipe not in self.pipes:
            return "unknown", ""
        for pattern, action in self._spellings:
            found = pattern.fullmatch(command)
            if found:
                return action, found.group(1) if pattern.groups else ""
        return "unknown", ""


def _spelling(text: str) -> re.Pattern[str]:
    words = []
    for word in text.split():
        if word == "#":
            words.append(r"(\d+)")
            continue
        short, _, rest = word.partition("|")
        tail = ""
        for letter in reversed(rest):
            tail = f"(?:{re.escape(letter)}{tail})?"
        words.append(re.escape(short) + tail)
    return re.compile(r"\s+".join(words))


@lru_cache(maxsize=1024)
def _action(dialect: str, line: str) -> tuple[str, str]:
    return DIALECTS[dialect].find(line)


_CISCO = {
    "term|inal le|ngth #": "paging",
    "term|inal wi|dth #": "nothing",
    "sh|ow ru|nning-config": "show_config",
    "sh|ow ver|sion": "show_version",
    "conf|igure t|erminal": "configure",
    "end": "end",
    "ex|it": "exit",
    "logo|ut": "logout",
    "q|uit": "logout",
}
_ENABLE = {"en|able": "enable", "disa|ble": "disable"}
_CARET = "{indent}^\n% Invalid input detected at '^' marker.\n\n"

_IOSXE_VERSION = """\
Cisco IOS XE Software, Version 17.09.04a
Cisco IOS Software [Cupertino], Catalyst L3 Switch Software (CAT9K_IOSXE), Version 17.9.4a, RELEASE SOFTWARE
Technical Support: http://www.cisco.com/techsupport
Copyright (c) 1986-2023 by Cisco Systems, Inc.

ROM: IOS-XE ROMMON
{name} uptime is 21 weeks, 3 days, 4 hours, 12 minutes
Uptime for this control processor is 21 weeks, 3 days, 4 hours, 15 minutes
System returned to ROM by Reload Command
System image file is "flash:packages.conf"
Last reload reason: Reload Command

cisco C9300-48P (X86) processor with 1331521K/6147K bytes of memory.
2048K bytes of non-volatile configuration memory.
Configuration register is 0x102

"""
_NXOS_VERSION = """\
Cisco Nexus Operating System (NX-OS) Software
TAC support: http://www.cisco.com/tac
Copyright (C) 2002-2023, Cisco and/or its affiliates.
All rights reserved.

Software
  BIOS: version 05.47
  NXOS: version 9.3(12)
  NXOS image file is: bootflash:///nxos.9.3.12.bin

Hardware
  cisco Nexus9000 C93180YC-EX chassis
  Device name: {name}
  bootflash:   53298520 kB
Kernel uptime is 112 day(s), 3 hour(s), 40 minute(s), 11 second(s)

"""
_IOSXR_VERSION = """\
Cisco IOS XR Software, Version 7.8.2
Copyright (c) 2013-2023 by Cisco Systems, Inc.

Build Information:
 Built By     : ingunawa
 Version      : 7.8.2
 Location     : /opt/cisco/XR/packages/

cisco ASR9K Series (Intel 686 F6M14S4) processor with 16777216K bytes of memory.
{name} uptime is 16 weeks, 1 day, 2 hours, 33 minutes

"""
_EOS_VERSION = """\
Arista DCS-7050SX3-48YC8-F
Hardware version: 12.02
Serial number: JPE00000000
System MAC address: 0011.2233.4455

Software image version: 4.29.5M
Architecture: x86_64
Uptime: 14 weeks, 2 days, 5 hours and 10 minutes
Total memory: 8098984 kB
Free memory: 6283312 kB

"""
_JUNOS_VERSION = """\

Hostname: {name}
Model: mx204
Junos: 21.4R3-S5.4
JUNOS OS Kernel 64-bit  [20230620.215133_builder_stable_12_214]
JUNOS Routing Software Suite [20230620.215133_builder_junos_214_r3_s5]
"""

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            name="cisco_iosxe",
            user_prompt="{name}>",
            prompt="{name}#",
            config_prompt="{name}(config)#",
            commands=_CISCO | _ENABLE,
            error=_CARET,
            more=" --More-- ",
            version=_IOSXE_VERSION,
            header="Building configuration...\n\nCurrent configuration : {size} bytes\n!\n"
            "! Last configuration change at 09:12:44 UTC Fri Nov 6 2026 by netops\n!\n",
            footer="\n",
            config_entered="Enter configuration commands, one per line.  End with CNTL/Z.\n",
            pipes=(),
        ),
        Dialect(
            name="cisco_nxos",
            user_prompt="{name}> ",
            prompt="{name}# ",
            config_prompt="{name}(config)# ",
            commands=_CISCO | _ENABLE,
            error="{indent}^\n% Invalid command at '^' marker.\n",
            more="--More--",
            version=_NXOS_VERSION,
            greeting="Cisco Nexus Operating System (NX-OS) Software\nTAC support: http://www.cisco.com/tac\n"
            "Copyright (C) 2002-2023, Cisco and/or its affiliates.\nAll rights reserved.\n",
            header="\n!Command: show running-config\n"
            "!Running configuration last done at: Fri Nov  6 09:12:44 2026\n"
            "!Time: {now}\n\n",
            footer="\n",
            wrong_enable="% Access denied\n",
            config_entered="Enter configuration commands, one per line. End with CNTL/Z.\n",
        ),
        Dialect(
            name="cisco_iosxr",
            user_prompt="RP/0/RP0/CPU0:{name}#",
            prompt="RP/0/RP0/CPU0:{name}#",
            config_prompt="RP/0/RP0/CPU0:{name}(config)#",
            commands=_CISCO,
            error=_CARET,
            more=" --More-- ",
            version=_IOSXR_VERSION,
            header="Building configuration...\n!! IOS XR Configuration 7.8.2\n"
            "!! Last configuration change at Fri Nov  6 09:12:44 2026 by netops\n!\n",
            footer="\n",
            stamp="\n{now}\n",
            now="%a %b %d %H:%M:%S.%f UTC",
            pipes=(),
        ),
        Dialect(
            name="arista_eos",
            user_prompt="{name}>",
            prompt="{name}#",
            config_prompt="{name}(config)#",
            commands=_CISCO | _ENABLE,
            error="% Invalid input\n",
            more=" --More-- ",
            version=_EOS_VERSION,
            greeting="Last login: Fri Nov  6 09:10:02 2026 from 192.0.2.10\n",
            header="! Command: show running-config\n! device: {name} (DCS-7050SX3-48YC8, EOS-4.29.5M)\n!\n",
            wrong_enable="% Bad secret\n",
        ),
        Dialect(
            name="juniper_junos",
            user_prompt="{user}@{name}> ",
            prompt="{user}@{name}> ",
            config_prompt="{user}@{name}# ",
            commands={
                "set cli screen-l|ength #": "screen_length",
                "set cli screen-w|idth #": "screen_width",
                "set cli complete-on-space off": "complete_off",
                "set cli complete-on-space on": "complete_on",
                "sh|ow conf|iguration": "show_config",
                "sh|ow ver|sion": "show_version",
                "conf|igure": "configure",
                "conf|igure exclusive": "configure",
                "conf|igure private": "configure",
                "ex|it configuration-mode": "end",
                "ex|it": "exit",
                "q|uit": "exit",
            },
            error="{indent}^\nunknown command.\n",
            more="---(more)---",
            version=_JUNOS_VERSION,
            greeting="--- JUNOS 21.4R3-S5.4 Kernel 64-bit  JNPR-12.1-20230613.7723847_buil\n",
            header="## Last commit: 2026-11-06 09:12:44 UTC by netops\n",
            footer="\n",
            config_entered="Entering configuration mode\n\n[edit]\n",
            config_left="Exiting configuration mode\n\n",
        ),
    )
}
