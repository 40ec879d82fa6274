"""The words of `netraven job` and `netraven status`."""

from __future__ import annotations

from typing import Any

from netraven.cli.words import Parser, group, json_option, positive, verb

WHAT = ("configuration", "reachability", "credentials", "stale-report", "prune")
LISTS = {
    "--tag": ("tags", "T", "devices with this tag; may be repeated, as may all of the next six"),
    "--device": ("names", "PATTERN", "devices whose name fits: * and ? stand for any"),
    "--platform": ("platforms", "P", "devices of this platform"),
    "--not-tag": ("not_tags", "T", "none with this tag"),
    "--not-device": ("not_names", "PATTERN", "none whose name fits"),
    "--not-platform": ("not_platforms", "P", "none of this platform"),
    "--output": ("outputs", "KIND", "collect this kind of output (running, version ...)"),
}
"""Options that make lists, and the keys of a job that they are."""
TEXTS = {
    "--cron": ("cron", "LINE", "when: minute hour day-of-month month day-of-week, or @daily, @hourly ..."),
    "--zone": ("zone", "ZONE", "the time zone of --cron, --at and the window, Europe/Berlin (default: UTC)"),
    "--every": ("every", "SPAN", "when: each 15m, 6h, 1d"),
    "--at": ("at", "TIME", "when: once, 2026-12-01T02:00 (in the job's zone)"),
    "--jitter": ("jitter", "SPAN", "start up to so much later, for each job the same (default: 0s)"),
    "--grace": (
        "grace",
        "SPAN",
        "a due time that went by is run so much later still, then missed (default: 1h)",
    ),
    "--start-after": ("start_after", "HH:MM", "not due before then"),
    "--finish-by": ("finish_by", "HH:MM", "runs end by then; what is left is skipped"),
    "--strategy": ("strategy", "S", "in which order credentials are offered (default: collect.strategy)"),
    "--older-than": ("older_than", "SPAN", "of stale-report: not collected for so long (default: 1d)"),
}
"""Options that take one text."""

_ABOUT = """\
Without --cron, --every and --at the job is run by hand only (job run). Without --tag, --device ... it is of every
device. `netraven serve` runs what is due."""


def job_commands(commands: Any) -> None:
    job = group(
        commands,
        "job",
        "what is run when: add, edit, list, show, remove, enable, disable, run, apply",
    )
    add = verb(job, "add", "job_edit:add", "define a job", _ABOUT)
    _definition(add)
    add.add_argument("--disabled", dest="enabled", action="store_false", help="define it, switched off")
    edit = verb(
        job,
        "edit",
        "job_edit:edit",
        "change a job; what is not told stays as it is",
        "A list (--tag ...) takes the place of the whole list, --cron of --every and --at.",
    )
    _definition(edit)
    edit.add_argument(
        "--clear",
        action="append",
        default=[],
        metavar="KEY",
        help="back to what holds without it: tag, finish-by ...; may be repeated",
    )
    shown = verb(job, "list", "jobs:show_all", "the jobs: when they are due next, how they last went")
    json_option(shown)
    one = verb(job, "show", "jobs:show", "one job: definition, next due times, devices, last runs")
    json_option(_named(one))
    _named(verb(job, "remove", "job_edit:remove", "remove a job; its runs stay on record"))
    _named(verb(job, "enable", "job_edit:enable", "let a job be due again"))
    _named(verb(job, "disable", "job_edit:disable", "let a job be due no more; a run of it goes on"))
    run = verb(
        job,
        "run",
        "job_run:run",
        "run a job now, whatever its schedule says",
        "Where a daemon lives, it runs it, and this follows; Ctrl-C ends the following only. Without one it is run\n"
        "here; Ctrl-C puts it back with what is left. Exit codes as of `collect`.",
    )
    _named(run)
    run.add_argument("--no-wait", action="store_true", help="queue it for a daemon, and be done")
    json_option(run)
    apply = verb(
        job,
        "apply",
        "job_edit:apply",
        "let the jobs on record be those of the settings, as `netraven serve` does when it starts",
        "Again changes nothing. Jobs that were added by command stay as they are.",
    )
    apply.add_argument("--dry-run", action="store_true", help="say what would change, change nothing")
    json_option(apply)


def status_command(commands: Any) -> None:
    status = verb(
        commands,
        "status",
        "status:status",
        "what runs, what is next, what is unwell",
        "From the database: works wherever it can be reached. Exit code 0 also where something is unwell.",
    )
    status.add_argument("--watch", action="store_true", help="show it anew every two seconds; Ctrl-C ends it")
    json_option(status)


def _named(parser: Parser) -> Parser:
    parser.add_argument("name", metavar="NAME")
    return parser


def _definition(parser: Parser) -> None:
    _named(parser)
    parser.add_argument("--what", choices=WHAT, help="what it does (default: configuration)")
    for option, (key, metavar, about) in LISTS.items():
        parser.add_argument(option, dest=key, action="append", metavar=metavar, help=about)
    for option, (key, metavar, about) in TEXTS.items():
        parser.add_argument(option, dest=key, metavar=metavar, help=about)
    parser.add_argument("--concurrency", type=positive, metavar="N", help="devices in session at once")
    parser.add_argument("--allow-empty", action="store_true", help="also where it selects no device yet")
    parser.add_argument("--priority", type=_priority, metavar="N", help="lower goes first (default: 100)")


def _priority(text: str) -> int:
    from argparse import ArgumentTypeError

    if not (text.isascii() and text.isdecimal() and len(text) < 8):
        raise ArgumentTypeError(f"{text!r} must be a whole number from 0 to 1000000")
    return int(text)
