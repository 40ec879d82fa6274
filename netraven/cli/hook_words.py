"""The words of `netraven hook`."""

from __future__ import annotations

from typing import Any

from netraven.cli.words import group, json_option, verb


def hook_commands(commands: Any) -> None:
    hook = group(commands, "hook", "who is told of what happened: list, deliver, test, forget")
    json_option(
        verb(hook, "list", "hooks:show_all", "each hook: what waits, what was given up, the last error")
    )
    deliver = verb(
        hook,
        "deliver",
        "hooks:deliver",
        "tell hooks what waits for them, now; exit 1 if something remains",
        "Without regard to the pauses after errors. A hook that fails is left alone until the next time.",
    )
    json_option(deliver)
    test = verb(
        hook, "test", "hooks:test", "send a hook an event of the type `test`, signed, and say what came back"
    )
    test.add_argument("name", metavar="NAME", help="as in [hooks.NAME]")
    json_option(test)
    forget = verb(hook, "forget", "hooks:forget", "drop what waits for a hook that settings no longer name")
    forget.add_argument("name", metavar="NAME")
    forget.add_argument("--force", action="store_true", help="also one that settings name")
