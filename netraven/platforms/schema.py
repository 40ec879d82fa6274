"""The keys of a platform file: what each takes, and what is wrong with what was given."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from netraven.platforms.reading import Fault, Place, Sheet
from netraven.platforms.regex import wrong_with_pattern

NAME = re.compile(r"[a-z][a-z0-9_]*")
KIND = re.compile(r"[a-z][a-z0-9_-]*")
LONGEST_TEXT = 1_000
LONGEST_LIST = 500
LONGEST_WAIT = 86_400.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(slots=True)
class Check:
    """Collects the faults of one file."""

    sheet: Sheet
    faults: list[Fault] = field(default_factory=list)
    tainted: set[str | int] = field(default_factory=set)
    """Keys of the file whose values cannot be used: what depends on them is not judged."""

    def fault(self, place: Place, wrong: str, expected: str) -> None:
        self.tainted.update(place[:1])
        self.faults.append(Fault(self.sheet.line(place), f"{_said(place)} {wrong}".strip(), expected))

    def copy(self) -> Check:
        return Check(self.sheet, list(self.faults), set(self.tainted))


Test = Callable[[Check, Place, Any], None]


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``about`` is what the reference says of it."""

    test: Test
    takes: str
    about: str
    required: bool = False


def _said(place: Place) -> str:
    """``outputs.running``, ``levels[2].prompt``: counted from one, as people do."""
    text = ""
    for part in place:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _kind_of(value: object) -> str:
    names = {
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a table",
    }
    return "nothing" if value is None else names.get(type(value), f"a {type(value).__name__}")


# ---- single values ----


def _is_text(check: Check, place: Place, value: Any) -> bool:
    if not isinstance(value, str):
        hint = ", put it in quotes" if isinstance(value, bool | int | float) or value is None else ""
        check.fault(place, f"is {_kind_of(value)}", f"text is expected{hint}")
        return False
    if not value:
        check.fault(place, "is empty", "text is expected")
        return False
    if len(value) > LONGEST_TEXT:
        check.fault(place, f"has {len(value):,} characters", f"{LONGEST_TEXT:,} are the most")
        return False
    return True


def _text(check: Check, place: Place, value: Any) -> None:
    if _is_text(check, place, value) and (found := _CONTROL.search(value)):
        check.fault(place, f"holds the character {found[0]!r}", "text on one line is expected")


def _command(check: Check, place: Place, value: Any) -> None:
    if not _is_text(check, place, value):
        return
    if found := _CONTROL.search(value):
        check.fault(place, f"holds the character {found[0]!r}", "one command on one line is expected")
    elif value != value.strip():
        check.fault(place, "begins or ends with a blank", "a command as it is typed is expected")


def _key_press(check: Check, place: Place, value: Any) -> None:
    if _is_text(check, place, value) and len(value) > 8:
        check.fault(
            place, f"has {len(value)} characters", "a key to press is expected, 8 characters at the most"
        )


def _one_of(*allowed: Any) -> Test:
    shown = ", ".join(f'"{word}"'.replace("\r", "\\r").replace("\n", "\\n") for word in allowed)

    def test(check: Check, place: Place, value: Any) -> None:
        if not isinstance(value, str):
            check.fault(place, f"is {_kind_of(value)}", f"one of {shown} is expected")
        elif value not in allowed:
            check.fault(place, f"is {value[:40]!r}", f"one of {shown} is expected")

    return test


def _word(pattern: re.Pattern[str]) -> Test:
    def test(check: Check, place: Place, value: Any) -> None:
        if _is_text(check, place, value) and not pattern.fullmatch(value):
            check.fault(place, f"is {value[:40]!r}", f"a name of the form {pattern.pattern} is expected")

    return test


def _seconds(check: Check, place: Place, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        check.fault(place, f"is {_kind_of(value)}", "a number of seconds is expected")
    elif not 0 < value <= LONGEST_WAIT:
        check.fault(place, f"is {value!s:.20}", f"seconds from above 0 to {LONGEST_WAIT:,.0f} are expected")


def _truth(check: Check, place: Place, value: Any) -> None:
    if not isinstance(value, bool):
        check.fault(place, f"is {_kind_of(value)}", "true or false is expected")


def _rank(check: Check, place: Place, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        check.fault(place, f"is {_kind_of(value)}", "a whole number is expected")
    elif not 0 <= value <= 1000:
        check.fault(place, f"is {value!s:.20}", "a whole number from 0 to 1000 is expected")


def _regex(*, may_be_empty: bool = True, group: str = "", groups: int = 0) -> Test:
    def test(check: Check, place: Place, value: Any) -> None:
        if not _is_text(check, place, value):
            return
        if wrong := wrong_with_pattern(value, may_be_empty=may_be_empty):
            wrong, _, remedy = wrong.partition("; ")
            check.fault(place, wrong, remedy or "a regular expression of Python's `re` is expected")
            return
        compiled = re.compile(value, re.MULTILINE)
        if group and group not in compiled.groupindex:
            check.fault(place, f"has no group {group!r}", f"mark what is secret: (?P<{group}>\\S+)")
        if compiled.groups < groups:
            check.fault(place, "has no group", "put the value in parentheses, as Version (\\S+)")

    return test


# ---- what is made of them ----


def _list_of(test: Test, *, least: int = 0) -> Test:
    def all_of(check: Check, place: Place, value: Any) -> None:
        if not isinstance(value, list):
            check.fault(place, f"is {_kind_of(value)}", 'a list is expected, as ["...", "..."]')
            return
        if not least <= len(value) <= LONGEST_LIST:
            check.fault(place, f"has {len(value)} entries", f"{least} to {LONGEST_LIST} are expected")
            return
        for number, item in enumerate(value):
            test(check, (*place, number), item)

    return all_of


def _table_of(keys: Mapping[str, Key]) -> Test:
    def test(check: Check, place: Place, value: Any) -> None:
        if not isinstance(value, dict):
            check.fault(place, f"is {_kind_of(value)}", "a table is expected")
            return
        check_table(check, place, value, keys)

    return test


def _names(pattern: re.Pattern[str], test: Test) -> Test:
    """A table whose keys are names that the file chooses."""

    def all_of(check: Check, place: Place, value: Any) -> None:
        if not isinstance(value, dict):
            check.fault(place, f"is {_kind_of(value)}", "a table is expected")
            return
        if len(value) > LONGEST_LIST:
            check.fault(place, f"has {len(value)} entries", f"{LONGEST_LIST} are the most")
            return
        for name, item in value.items():
            if not pattern.fullmatch(name):
                expected = f"a name of the form {pattern.pattern} is expected"
                check.fault((*place, name), "is no name", expected)
            test(check, (*place, name), item)

    return all_of


def check_table(check: Check, place: Place, value: Mapping[str, Any], keys: Mapping[str, Key]) -> None:
    for name, item in value.items():
        if name in keys:
            keys[name].test(check, (*place, name), item)
        else:
            check.fault((*place, name), "is not known", closest(name, keys))
    for name, key in keys.items():
        if key.required and name not in value:
            check.fault(
                place, f"has no {name}" if place else f"{name} is missing", f"{key.takes} is expected"
            )


def closest(word: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"


def _output(check: Check, place: Place, value: Any) -> None:
    if isinstance(value, dict):
        check_table(check, place, value, OUTPUT)
    else:
        _command(check, place, value)


_PROMPT = _regex(may_be_empty=False)

OUTPUT = {
    "command": Key(_command, "a command", "the command", required=True),
    "level": Key(_text, "text", "the level that it needs, where it is not the platform's own"),
}
FACT = {
    "kind": Key(_word(KIND), "a kind of `[outputs]`", "the output to look in", required=True),
    "pattern": Key(
        _regex(may_be_empty=False, groups=1),
        "a regular expression",
        "its first group is the value; `^` and `$` are ends of lines",
        required=True,
    ),
}
TIMEOUTS = {
    "command": Key(
        _seconds, "seconds", "without a byte in a command, where `collect.command_timeout` is less"
    ),
}
LEVEL = {
    "name": Key(_word(NAME), "a name", "what `level` calls it", required=True),
    "prompt": Key(_PROMPT, "a regular expression", "of the whole prompt", required=True),
    "above": Key(
        _word(NAME), "a level's name", "the level that `enter` is typed in; none: a login lands here"
    ),
    "enter": Key(_command, "a command", "leads here from `above`"),
    "asks": Key(_PROMPT, "a regular expression", "the question for the enable secret, where there is one"),
    "leave": Key(_command, "a command", "leads back"),
}
DETECTION = {
    "banner": Key(_PROMPT, "a regular expression", "of the SSH server's version, its banner or the greeting"),
    "prompt": Key(_PROMPT, "a regular expression", "of the prompt"),
    "command": Key(_command, "a command", "one that changes nothing"),
    "answer": Key(_PROMPT, "a regular expression", "what the answer to `command` holds"),
    "rank": Key(_rank, "a number", "of two that fit the lower one is meant; 100 unless told"),
}
TELNET = {
    "login": Key(_PROMPT, "a regular expression", "the question for the user name, where it is no usual one"),
    "password": Key(_PROMPT, "a regular expression", "the question for the password"),
    "refused": Key(_PROMPT, "a regular expression", "what the device prints when it refuses a login"),
}
TESTED = ("unconfirmed", "dialogue", "lab", "server")
PLATFORM = {
    "title": Key(_text, "text", "as people call it; required where nothing is extended"),
    "extends": Key(_word(NAME), "a platform", "take everything of that one, then override key by key"),
    "driver": Key(
        _text, "a driver's name", "the scrapli or scrapli-community platform that knows prompts and levels"
    ),
    "variant": Key(_text, "text", "the driver's variant"),
    "prompt": Key(
        _PROMPT, "a regular expression", "of a whole prompt, where there is no driver and one level"
    ),
    "level": Key(_text, "text", "the level that commands need, where it is not the driver's own"),
    "on_open": Key(_list_of(_command), "a list of commands", "typed after the login, after the driver's own"),
    "pager": Key(
        _PROMPT, "a regular expression", "what a device shows that waits for a key before the next page"
    ),
    "pager_key": Key(_key_press, "text", "that key; a blank unless told"),
    "errors": Key(
        _list_of(_text), "a list of texts", "in the first lines of an answer: the command was rejected"
    ),
    "volatile": Key(_list_of(_PROMPT), "a list of regular expressions", "lines that change by themselves"),
    "unordered": Key(
        _list_of(_PROMPT),
        "a list of regular expressions",
        "lines whose order says nothing: neighbours that match the same one are compared sorted",
    ),
    "secrets": Key(
        _list_of(_regex(may_be_empty=False, group="secret")),
        "a list of regular expressions",
        "lines that hold a secret: it is the group `secret`; beside what is secret on every platform",
    ),
    "logout": Key(_command, "a command", "typed before hanging up, where the device wants it"),
    "return_char": Key(
        _one_of("\n", "\r", "\r\n"), "text", 'ends a typed line: `"\\n"` (unless told), `"\\r"` or `"\\r\\n"`'
    ),
    "username_suffix": Key(
        _text, "text", "put behind the user name of an SSH login: terminal options of RouterOS"
    ),
    "login_in_shell": Key(
        _truth, "true or false", "its SSH lets everybody in, and the shell asks who it is; as over telnet"
    ),
    "tested": Key(_one_of(*TESTED), "text", "in files that NetRaven ships: how it was tested"),
    "outputs": Key(
        _names(KIND, _output),
        "a table",
        "kind = command, or kind = { command, level }; `running` must be there",
    ),
    "collect": Key(
        _list_of(_word(KIND), least=1),
        "a list of kinds",
        "those of `[outputs]` that are collected where nothing else is said; `running` unless told",
    ),
    "facts": Key(
        _names(NAME, _table_of(FACT)), "a table", "name = { kind, pattern }: `version`, `serial`, `model`"
    ),
    "timeouts": Key(_table_of(TIMEOUTS), "a table", "seconds"),
    "levels": Key(
        _list_of(_table_of(LEVEL), least=1),
        "tables",
        "without a driver: every level, the first is the login's",
    ),
    "detect": Key(
        _list_of(_table_of(DETECTION)),
        "tables",
        "how `platform = auto` knows it; what is left out says nothing",
    ),
    "telnet": Key(_table_of(TELNET), "a table", "texts of a login over telnet, or in the shell"),
}
SECTIONS: Mapping[str, Mapping[str, Key]] = {
    "": PLATFORM,
    "outputs.KIND": OUTPUT,
    "facts.NAME": FACT,
    "timeouts": TIMEOUTS,
    "levels": LEVEL,
    "detect": DETECTION,
    "telnet": TELNET,
}
"""For the reference in the documentation."""
