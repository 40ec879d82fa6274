"""What a platform's keys come to together: whether they fit, and the facts that they make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from netraven.platforms.drivers import known_drivers, variants
from netraven.platforms.model import RUNNING, Detection, Fact, Level, Output, Platform
from netraven.platforms.schema import Check, closest


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` wins key by key; tables are merged, lists are replaced."""
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        tables = isinstance(value, dict) and isinstance(before, dict)
        result[key] = merged(before or {}, value) if tables else value
    return result


def check_together(check: Check, data: Mapping[str, Any]) -> None:
    """``data``: the whole, after ``extends``, without keys that are ``tainted``: each of its values is well formed."""
    if "title" not in data and "title" not in check.tainted:
        check.fault((), "title is missing", "text is expected, as people call the platform")
    outputs = data.get("outputs", {})
    if outputs and RUNNING not in outputs:
        check.fault(
            ("outputs",), f"has no {RUNNING}", "the command that prints the configuration is expected"
        )
    for number, kind in enumerate(data.get("collect", ())):
        if kind not in outputs and "outputs" not in check.tainted:
            check.fault(("collect", number), f"{kind!r} is not in [outputs]", closest(kind, outputs))
    for name, fact in data.get("facts", {}).items():
        if fact["kind"] not in outputs and "outputs" not in check.tainted:
            said = f"looks in {fact['kind']!r}, which is not collected"
            check.fault(("facts", name, "kind"), said, closest(fact["kind"], outputs))
    for number, way in enumerate(data.get("detect", ())):
        if ("command" in way) != ("answer" in way):
            check.fault(("detect", number), "has one of command and answer", "both or neither are expected")
        if not {"banner", "prompt", "command"} & set(way):
            check.fault(
                ("detect", number), "says nothing", "banner, prompt, or command and answer are expected"
            )
    _check_prompts(check, data)
    _check_levels(check, data)


def _check_prompts(check: Check, data: Mapping[str, Any]) -> None:
    ways = [key for key in ("driver", "prompt", "levels") if data.get(key)]
    if len(ways) > 1:
        for key in ways[1:]:
            check.fault(
                (key,),
                f"does not go together with {ways[0]}",
                "one of driver, prompt, [[levels]] is expected",
            )
    if (
        not ways
        and data.get("outputs")
        and check.tainted.isdisjoint(("driver", "prompt", "levels", "extends"))
    ):
        check.fault(
            (), "nothing says what a prompt looks like", "a driver, a prompt or [[levels]] is expected"
        )
    driver, variant = data.get("driver"), data.get("variant")
    if driver is not None and driver not in known_drivers():
        check.fault(("driver",), f"{driver!r} is not known", closest(driver, known_drivers()))
    elif variant is not None and "driver" not in check.tainted:
        known = variants(driver) if driver is not None else ()
        if variant not in known:
            expected = closest(variant, known) if known else "the driver has no variants: leave it out"
            check.fault(("variant",), f"{variant!r} is not known", expected)


def _check_levels(check: Check, data: Mapping[str, Any]) -> None:
    if data.get("driver") or not check.tainted.isdisjoint(("driver", "levels", "extends")):
        return  # the levels are the driver's, or nobody can tell
    levels = data.get("levels", ())
    names = [level["name"] for level in levels]
    for number, level in enumerate(levels):
        place = ("levels", number)
        if names.index(level["name"]) != number:
            check.fault(
                (*place, "name"), f"{level['name']!r} comes twice", "each level has a name of its own"
            )
        if number == 0 and ("above" in level or "enter" in level):
            check.fault(place, "is where a login lands", "the first level has neither above nor enter")
        if number and not {"above", "enter"} <= set(level):
            check.fault(
                place, "cannot be reached", "above and enter are expected in every level but the first"
            )
        if level.get("above", level["name"]) not in names:
            check.fault((*place, "above"), f"{level['above']!r} is no level", closest(level["above"], names))
    _check_connected(check, levels)
    wanted = {("level",): data.get("level")} | {
        ("outputs", kind, "level"): output.get("level")
        for kind, output in data.get("outputs", {}).items()
        if isinstance(output, dict)
    }
    for where, level in wanted.items():
        if level is not None and level not in names:
            expected = (
                closest(level, names) if names else "without [[levels]] there is only one: leave it out"
            )
            check.fault(where, f"{level!r} is no level", expected)


def _check_connected(check: Check, levels: Any) -> None:
    above = {level["name"]: level.get("above") for level in levels}
    for number, level in enumerate(levels):
        name, seen = level["name"], set()
        while name in above and name not in seen and above[name] is not None:
            seen.add(name)
            name = above[name]
        if number and name in seen:
            check.fault(("levels", number, "above"), "leads in a circle", "levels lead up to the first one")


def platform_of(name: str, data: Mapping[str, Any], origin: str) -> Platform:
    """The facts. ``data`` has been checked."""
    timeouts, telnet = data.get("timeouts", {}), data.get("telnet", {})
    return Platform(
        name=name,
        title=data["title"],
        driver=data.get("driver"),
        variant=data.get("variant"),
        prompt=data.get("prompt"),
        levels=tuple(Level(**level) for level in data.get("levels", ())),
        level=data.get("level"),
        collect=tuple(data.get("collect", (RUNNING,) if data.get("outputs") else ())),
        outputs={kind: _output(kind, output) for kind, output in data.get("outputs", {}).items()},
        on_open=tuple(data.get("on_open", ())),
        pager=_lines(data.get("pager")),
        pager_key=data.get("pager_key", " "),
        errors=tuple(data.get("errors", ())),
        volatile=tuple(re.compile(p, re.MULTILINE) for p in data.get("volatile", ())),
        unordered=tuple(re.compile(p, re.MULTILINE) for p in data.get("unordered", ())),
        secrets=tuple(re.compile(p, re.MULTILINE) for p in data.get("secrets", ())),
        facts=tuple(
            Fact(fact, told["kind"], re.compile(told["pattern"], re.MULTILINE))
            for fact, told in data.get("facts", {}).items()
        ),
        logout=data.get("logout"),
        return_char=data.get("return_char", "\n"),
        command_timeout=_seconds(timeouts.get("command")),
        detection=tuple(_detection(way) for way in data.get("detect", ())),
        username_suffix=data.get("username_suffix", ""),
        login_in_shell=data.get("login_in_shell", False),
        telnet_login=telnet.get("login"),
        telnet_password=telnet.get("password"),
        telnet_refused=telnet.get("refused"),
        tested=data.get("tested", "dialogue") if origin == "shipped" else "",
        origin=origin,
    )


def _output(kind: str, told: Any) -> Output:
    if isinstance(told, str):
        return Output(kind, told)
    return Output(kind, told["command"], told.get("level"))


def _detection(way: Mapping[str, Any]) -> Detection:
    return Detection(
        banner=_lines(way.get("banner")),
        prompt=_lines(way.get("prompt")),
        command=way.get("command"),
        answer=_lines(way.get("answer")),
        rank=way.get("rank", 100),
    )


def _lines(pattern: str | None) -> re.Pattern[str] | None:
    return None if pattern is None else re.compile(pattern, re.MULTILINE)


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)
