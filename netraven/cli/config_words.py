"""The commands of `netraven config`. Standard library only, as `parser`."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from netraven.cli.words import Parser, group, json_option, limits, moment, positive, selecting, verb

_WHICH = """\
A version is named by its number (see `config history`), or by a time: the version in force then."""

_DIFF = f"""\
Without A and B: what the newest version changed. With A alone: A against the newest version.
{_WHICH}
What changes by itself (counters, time stamps ...) is left out. The output is what `patch` and `git apply` read; the
exit code is 0 whether there is a difference or not."""

_SEARCH = """\
PATTERN is text, to be found as it is; with --regex a regular expression in RE2's syntax, which has no lookaround and no
backreferences, and never takes long. Each line is looked at by itself. Secrets cannot be found: what is searched is
the text as `config show` prints it. (To look for a leaked password, --raw and - keep it out of the list of processes.)

exit codes: 0 found; 1 not found; 2 a mistake, or not everything could be searched"""


def config_commands(commands: Any) -> None:
    config = group(commands, "config", "configurations: history, show, diff, search")
    _history(config)
    _show(config)
    _diff(config)
    _search(config)


def _history(config: Any) -> None:
    parser = verb(
        config, "history", "configs:history", "the versions of a device's configuration, newest last"
    )
    parser.add_argument("device", metavar="DEVICE")
    _kind(parser)
    limits(parser)
    json_option(parser)


def _show(config: Any) -> None:
    parser = verb(
        config,
        "show",
        "configs:show",
        "a configuration: the newest, or that of a time",
        "In the place of each secret stands a mark, the same for the same secret.",
    )
    parser.add_argument("device", metavar="DEVICE")
    _kind(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--at", type=moment, metavar="WHEN", help="the version in force then: 2026-11-22T20:07, 2h, 3d"
    )
    which.add_argument(
        "--version", type=positive, dest="number", metavar="N", help="this version (see `config history`)"
    )
    _raw(parser)
    json_option(parser)


def _diff(config: Any) -> None:
    parser = verb(config, "diff", "config_diff:show", "what changed between two versions, or in a run", _DIFF)
    parser.add_argument("device", nargs="?", metavar="DEVICE")
    parser.add_argument("old", nargs="?", type=version_or_moment, metavar="A", help="a version or a time")
    parser.add_argument("new", nargs="?", type=version_or_moment, metavar="B", help="another one")
    _kind(parser, default=None)
    parser.add_argument("--run", type=positive, metavar="R", help="everything that changed in this run")
    parser.add_argument(
        "--tag",
        dest="tags",
        action="append",
        default=[],
        metavar="T",
        help="with --run: only devices with this tag; may be repeated",
    )
    parser.add_argument("--side-by-side", action="store_true", help="both versions beside each other")
    parser.add_argument(
        "--context",
        type=lines,
        default=3,
        dest="around",
        metavar="N",
        help="lines shown around a change (default 3)",
    )
    _raw(parser)
    json_option(parser)


def _search(config: Any) -> None:
    parser = verb(
        config, "search", "config_search:search", "the lines that have a text, of all devices", _SEARCH
    )
    parser.add_argument("pattern", metavar="PATTERN", help="what to look for; - for a line on stdin")
    parser.add_argument("--regex", action="store_true", help="PATTERN is a regular expression")
    parser.add_argument("--ignore-case", action="store_true", help="large and small letters are the same")
    selecting(parser)
    _kind(parser)
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--at", type=moment, metavar="WHEN", help="in the versions in force then")
    when.add_argument("--history", action="store_true", help="in every version, not only the newest")
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N lines that are found")
    _raw(parser)
    json_option(parser)


def _kind(parser: Parser, default: str | None = "running") -> None:
    parser.add_argument(
        "--kind", default=default, metavar="KIND", help="another output than running: startup, version ..."
    )


def _raw(parser: Parser) -> None:
    parser.add_argument("--raw", action="store_true", help="as captured, secrets and all")


def version_or_moment(text: str) -> int | datetime:
    """The number of a version, or a time."""
    if text.isascii() and text.isdecimal():
        return positive(text)
    try:
        return moment(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither the number of a version nor a time: write 12, 2026-11-22, 2026-11-22T20:07 (UTC), "
            "or how long ago, as 30m, 2h, 3d"
        ) from None


def lines(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of lines, 0 or more")
    return int(text)
