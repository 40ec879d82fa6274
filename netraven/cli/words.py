"""How words on the command line are read: our parser, the kinds of values, and options that many commands share."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn


class UsageError(Exception):
    """The words do not fit; the message is complete."""


class Done(Exception):
    """The answer is a text, and nothing else is to be done."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Parser(argparse.ArgumentParser):
    """argparse that says what is wrong in one line, with the closest word that exists."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **options,
            add_help=False,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.verbs: Iterable[str] = ()
        self.set_defaults(_parser=self)
        common = self.add_argument_group("everywhere")
        common.add_argument("-h", "--help", action=Help, help="this text")
        common.add_argument(
            "--config",
            metavar="FILE",
            default=argparse.SUPPRESS,
            help="settings file (otherwise $NETRAVEN_CONFIG, ./netraven.toml, /etc/netraven/netraven.toml)",
        )

    def commands(self, metavar: str) -> Any:
        chosen = self.add_subparsers(metavar=metavar, title="commands", parser_class=Parser)
        self.verbs = chosen.choices.keys()
        return chosen

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"error: {message}\nsee: {self.prog} --help")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        word = next((w for w in unknown if w.startswith("-")), unknown[0])
        kind = "option" if word.startswith("-") else "argument"
        options = [o for a in self._actions for o in a.option_strings if a.help is not argparse.SUPPRESS]
        self.error(f"unknown {kind} {word!r}{_closest(word.partition('=')[0], options)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            hint = _closest(str(value), choices) or f"; there are: {', '.join(choices)}"
            what = (
                "command"
                if isinstance(action, argparse._SubParsersAction)
                else "/".join(action.option_strings)
            )
            raise argparse.ArgumentError(None, f"unknown {what} {str(value)!r}{hint}")


class Help(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: ARG002 - argparse passes it
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        raise Done(parser.format_help().rstrip())


class Version(Help):
    def __call__(self, *_: Any) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            raise Done(f"netraven {version('netraven')}")
        except PackageNotFoundError:
            raise Done("netraven, not installed: a source tree") from None


class NeverAnArgument(argparse.Action):
    """An option that people will try, and that must not work."""

    def __init__(self, option_strings: Sequence[str], **_: Any) -> None:
        hidden = argparse.SUPPRESS
        super().__init__(option_strings, hidden, nargs="?", default=hidden, help=hidden)

    def __call__(
        self, parser: argparse.ArgumentParser, _: Any, __: Any, option: str | None = None
    ) -> NoReturn:
        ways = (
            "--enable-password-env VAR"
            if "enable" in str(option)
            else "--passphrase-env VAR"
            if "passphrase" in str(option)
            else ("--password-stdin, --password-env VAR or --private-key FILE, or none of them to be asked")
        )
        parser.error(
            f"{option} does not exist: a secret on the command line is readable by everyone on this machine, and "
            f"stays in the shell's history. What was just typed is one to change. Use {ways}"
        )


def _closest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


# ---- what options take ----


def positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 31):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


def number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number")
    return int(text)


KEEP_DAYS = 7


def days(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 3650):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of days, 3650 at the most")
    return int(text)


def tag_list(text: str) -> list[str]:
    return [tag for tag in (part.strip() for part in text.split(",")) if tag]


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str) -> datetime:
    """A time in ISO form (UTC unless it says otherwise), or how long ago: ``90s``, ``30m``, ``2h``, ``3d``, ``1w``."""
    ago = re.fullmatch(r"(\d{1,7})([smhdw])", text.strip(), re.ASCII)
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        at = datetime.fromisoformat(text.strip())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: write 2026-11-22, 2026-11-22T20:07 (UTC), or how long ago, as 30m, 2h, 3d"
        ) from None


# ---- the commands ----


def verb(commands: Any, name: str, handler: str, about: str, more: str = "") -> Parser:
    parser: Parser = commands.add_parser(name, help=about, description=f"{about}\n\n{more}".rstrip())
    parser.set_defaults(_handler=handler)
    return parser


def group(commands: Any, name: str, about: str) -> Any:
    parser: Parser = commands.add_parser(name, help=about, description=about)
    return parser.commands("VERB")


def json_option(parser: Parser) -> None:
    parser.add_argument("--json", dest="as_json", action="store_true", help="one JSON document on stdout")


def limits(parser: Parser, *, time: bool = True) -> None:
    shown = "the newest N" if time else "the first N"
    parser.add_argument("--limit", type=positive, metavar="N", help=f"{shown} (tables: 50, JSON: all)")
    if time:
        parser.add_argument(
            "--since", type=moment, metavar="WHEN", help="from then on: 2026-11-22T20:07, 2h, 3d"
        )
        parser.add_argument("--until", type=moment, metavar="WHEN", help="before then")


def selecting(parser: Parser) -> None:
    for option, into, metavar, about in (
        ("--tag", "tags", "T", "only with this tag; may be repeated"),
        ("--device", "names", "NAME", "only this one; may be repeated"),
    ):
        parser.add_argument(option, dest=into, action="append", default=[], metavar=metavar, help=about)
