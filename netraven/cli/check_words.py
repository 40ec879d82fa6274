"""The words of `netraven check` and `netraven report`."""

from __future__ import annotations

import argparse
from typing import Any

from netraven.cli.words import group, json_option, limits, positive, selecting, verb

DAY = 86_400.0


def check_commands(commands: Any) -> None:
    check = group(commands, "check", "whether devices are there, and still open: reachability, credentials")
    reach = verb(
        check,
        "reachability",
        "checks:reachability",
        "connect to the devices, and wait for their first words; no login",
        "SSH: the server's version line. Telnet: anything. No secret is sent, and none is needed; only jump hosts on\n"
        "the way are logged in to, as ever.",
    )
    opens = verb(
        check,
        "credentials",
        "checks:credentials",
        "log in to the devices and out again: which still open, and with what",
        "As collecting does, under the lockout guard and on record, up to the prompt and the privileges that\n"
        "collecting needs (enable). Nothing is collected.",
    )
    for parser in (reach, opens):
        selecting(parser)
        parser.add_argument("--concurrency", type=positive, metavar="N", help="devices at once")
        json_option(parser)
    opens.add_argument(
        "--strategy", metavar="S", help="last-good, explore, success-rate, priority, or module:Class"
    )


def report_commands(commands: Any) -> None:
    report = group(commands, "report", "what should worry you: stale")
    stale = verb(
        report,
        "stale",
        "stale:report",
        "the devices that were not collected for long, whatever the reason",
        "Also those that never were. Those come first, then the ones that were collected longest ago.",
    )
    stale.add_argument(
        "--older-than", type=span, default=DAY, metavar="T", help="how long: 90m, 24h (the default), 7d"
    )
    selecting(stale)
    limits(stale, time=False)
    json_option(stale)


def span(word: str) -> float:
    from netraven.schedule.durations import seconds_of

    seconds = seconds_of(word)
    if seconds is None or not 0 < seconds <= 36_500 * DAY:
        raise argparse.ArgumentTypeError(f"{word!r} is no span of time: say 90m, 24h or 7d")
    return seconds
