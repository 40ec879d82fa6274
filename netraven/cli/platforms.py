"""`netraven platform`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from netraven.cli.context import Context
from netraven.cli.screen import Table, console, counted, note, print_json, say, took
from netraven.errors import InputError, SettingsError
from netraven.model import Status
from netraven.plain import plain, plain_line
from netraven.platforms import Catalogue, Platform
from netraven.platforms.reading import PlatformRefused

_LONGEST_LINE = 500


def show_all(context: Context, *, as_json: bool) -> int:
    catalogue = _catalogue(context)
    broken = catalogue.broken()
    rows = []
    for name in catalogue.names():
        if (error := broken.get(name)) is None:
            platform = catalogue.load(name)
            rows.append(_short(platform))
        else:
            blank: dict[str, Any] = {
                "title": None,
                "driver": None,
                "kinds": [],
                "tested": None,
                "origin": None,
            }
            rows.append({"name": name, **blank, "error": str(error)})
    if as_json:
        print_json(rows)
        return 0
    table = Table(
        "name", "title", "driver", "outputs", "tested", "origin", spare=("tested", "driver", "title")
    )
    for row in rows:
        if row["error"]:
            table.add(row["name"], "broken", None, None, None, None, style="red")
        else:
            kinds = ", ".join(row["kinds"]) or "nothing"
            table.add(row["name"], row["title"], row["driver"], kinds, row["tested"], row["origin"])
    table.print(console())
    say(f"\n{counted(len(rows), 'platform')}")
    for name, error in broken.items():
        note(f"warning: platform {plain_line(name)} is broken:\n{plain(str(error))}")
    return 0


def show(context: Context, *, name: str, as_json: bool) -> int:
    platform = _catalogue(context).load(name)
    if as_json:
        print_json(document(platform))
    else:
        _print(platform)
    return 0


async def check(
    context: Context, *, file: str, device: str | None, credential: str | None, as_json: bool
) -> int:
    if credential is not None and device is None:
        raise InputError("--credential goes with --device")
    try:
        platform = _catalogue(context).check(Path(file))
    except PlatformRefused as refused:
        if as_json:
            faults = [
                {"file": where, "line": fault.line, "wrong": fault.wrong, "expected": fault.expected}
                for where, fault in refused.faults
            ]
            print_json({"file": file, "faults": faults})
        raise InputError(f"{counted(len(refused.faults), 'fault')}\n{refused}") from refused
    if device is None:
        if as_json:
            print_json({"file": file, "faults": [], "platform": document(platform), "trial": None})
        else:
            say(f"{file}: good")
            _print(platform)
        return 0
    return await _try(context, platform, device, credential, as_json=as_json)


async def _try(
    context: Context, platform: Platform, device: str, credential: str | None, *, as_json: bool
) -> int:
    """What goes out (>) and comes in (<) is results, but for ``--json``: there it stands beside them."""
    from netraven.trial import Trial

    if not platform.collects:
        raise InputError(f"{platform.name} collects nothing: there is nothing to try")
    line = note if as_json else say
    marks = {"out": ">", "in": "<"}
    trial = Trial(platform, lambda way, text: line(f"{marks[way]} {_as_typed(text)}"))
    outcome = await trial.run(context.settings, device, credential=credential)
    collected = outcome.status is Status.COLLECTED
    if as_json:
        told = {
            "device": device,
            "status": outcome.status,
            "reason": outcome.reason,
            "detail": outcome.detail,
            "credential": outcome.credential.name if outcome.credential else None,
            "attempts": outcome.attempts,
            "duration_ms": outcome.duration_ms,
            "outputs": [{"kind": c.kind, "characters": len(c.text)} for c in trial.captures],
        }
        print_json({"file": platform.origin, "faults": [], "platform": document(platform), "trial": told})
        return 0 if collected else 1
    say()
    if not collected:
        say(f"{device}: {outcome.reason}: {plain_line(outcome.detail or '')}")
    for capture in trial.captures if collected else ():
        say(
            f"{device}: {capture.kind}: {counted(capture.text.count(chr(10)), 'line')}, {took(outcome.duration_ms)}"
        )
    say("Nothing was stored; the attempts are on record.")
    return 0 if collected else 1


def _as_typed(text: str) -> str:
    """A line with the blanks at its start: expressions are written after what is seen here."""
    blanks = text[: len(text) - len(text.lstrip(" "))]
    return blanks[:_LONGEST_LINE] + plain_line(text, _LONGEST_LINE)


def _catalogue(context: Context) -> Catalogue:
    """Shipped platforms can be shown where there are no settings yet."""
    try:
        return Catalogue(context.settings.platforms_folder)
    except SettingsError:
        if context.config is not None:
            raise
        return Catalogue()


def _short(platform: Platform) -> dict[str, Any]:
    return {
        "name": platform.name,
        "title": platform.title,
        "driver": platform.driver,
        "kinds": list(platform.outputs),
        "tested": platform.tested or None,
        "origin": platform.origin,
        "error": None,
    }


def document(platform: Platform) -> dict[str, Any]:
    """Everything that is known of a platform, after ``extends``; expressions as they were written."""
    told = {field.name: _plain(getattr(platform, field.name)) for field in dataclasses.fields(platform)}
    told["outputs"] = [_plain(output) for output in platform.outputs.values()]
    told["tested"] = platform.tested or None
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, re.Pattern):
        return value.pattern
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def _print(platform: Platform) -> None:
    """What differs from saying nothing."""
    default = Platform("")
    for field in dataclasses.fields(platform):
        value = getattr(platform, field.name)
        if field.name != "outputs" and (not value or value == getattr(default, field.name)):
            continue
        if field.name == "outputs":
            told = [
                f"{o.kind}: {o.command}" + (f"  (at {o.level})" if o.level else "") for o in value.values()
            ]
            _lines("outputs", told or ["nothing"])
        elif isinstance(value, tuple):
            _lines(field.name, [_one(item) for item in value])
        else:
            _lines(field.name, [_one(value)])


def _one(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items() if part is not None)
    return repr(value) if isinstance(value, str) and value != value.strip() else str(value)


def _lines(label: str, values: list[str]) -> None:
    for number, value in enumerate(values):
        say(f"{label if number == 0 else '':15} {plain_line(value, _LONGEST_LINE)}")
