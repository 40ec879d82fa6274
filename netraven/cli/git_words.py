"""The words of `netraven git` and of `netraven history import-git`."""

from __future__ import annotations

from typing import Any

from netraven.cli.words import group, json_option, verb


def git_commands(commands: Any) -> None:
    git = group(commands, "git", "the git repository with all configurations: export, push, status")
    export = verb(
        git,
        "export",
        "git:export",
        "bring the repository of [git] up to what is on record, and push it",
        "Each run does this at its end. It goes on where the last export got to; a repository that was deleted is\n"
        "made again with its history. Exit code 1: something could not be exported or pushed.",
    )
    export.add_argument(
        "--rebuild",
        action="store_true",
        help="make it anew from the whole history, and put it in the place of what is there",
    )
    export.add_argument("--no-push", action="store_true", help="do not push")
    json_option(export)
    push = verb(
        git,
        "push",
        "git:push",
        "push what is there to git.remote; never with force",
        "Exit code 1: the remote did not take it.",
    )
    json_option(push)
    json_option(
        verb(git, "status", "git:status", "what the repository holds, what waits, how the last push went")
    )


def import_git_verb(history: Any) -> None:
    load = verb(
        history,
        "import-git",
        "history_git:load",
        "take over the history of a git repository of Oxidized or RANCID",
        "PATH is the repository, bare or not, or a folder with one for each group. A version for each commit that\n"
        "changed a device's file, of the time at which it was authored. Names are matched with the inventory: as they\n"
        "are, without regard to upper and lower case, without the domain. Doing it again adds nothing.",
    )
    load.add_argument("path", metavar="PATH", help="the repository")
    load.add_argument(
        "--layout",
        choices=("auto", "oxidized", "rancid"),
        default="auto",
        help="whose it is (default: what it looks like)",
    )
    load.add_argument("--branch", default="HEAD", metavar="B", help="the branch (default: what HEAD says)")
    load.add_argument(
        "--kind", default="running", metavar="KIND", help="what the files are (default: running)"
    )
    load.add_argument("--dry-run", action="store_true", help="say what would come in, change nothing")
    json_option(load)
