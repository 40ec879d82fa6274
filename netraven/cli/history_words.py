"""The words of `netraven prune`, and of `netraven history export` and `import`."""

from __future__ import annotations

from typing import Any

from netraven.cli.words import json_option, selecting, verb


def prune_command(commands: Any) -> None:
    prune = verb(
        commands,
        "prune",
        "prune:prune",
        "take away versions and logs beyond [retention], and make old texts small",
        "Runs in short steps while others collect; interrupted, it is gone on with the next time. The latest version\n"
        "of an output always stays. Texts that no version has any more go, and old ones are stored as the difference\n"
        "to another one.",
    )
    prune.add_argument("--dry-run", action="store_true", help="say what would go, change nothing")
    json_option(prune)


def archive_verbs(history: Any) -> None:
    out = verb(
        history,
        "export",
        "history:export",
        "write the history into one file, to take along",
        "Devices, every text once, all versions. Texts are sealed with this installation's key, which importing them\n"
        "needs, unless told otherwise. Also readable with `zstd -dc FILE | jq`.",
    )
    out.add_argument("file", metavar="FILE", help="where to; it is there once it is whole")
    selecting(out)
    form = out.add_mutually_exclusive_group()
    form.add_argument(
        "--raw",
        action="store_true",
        help="texts in clear, secrets and all: for an installation of another key",
    )
    form.add_argument(
        "--redacted",
        action="store_true",
        help="texts with marks in the place of secrets: for giving away; it cannot be imported",
    )
    out.add_argument("--force", action="store_true", help="replace a file that is there")
    json_option(out)
    load = verb(
        history,
        "import",
        "history:load",
        "read such a file in; a damaged one changes nothing",
        "Versions come in between those that are there, in the order of time; older ones push the numbers of later\n"
        "ones up. Devices that are not in the inventory are made. Doing it again adds nothing.",
    )
    load.add_argument("file", metavar="FILE", help="the file")
    load.add_argument("--existing-only", action="store_true", help="make no devices, leave theirs out")
    load.add_argument("--dry-run", action="store_true", help="say what would come in, change nothing")
    json_option(load)
