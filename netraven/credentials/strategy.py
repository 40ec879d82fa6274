"""Strategies by name: those that NetRaven brings along, and classes of others."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.metadata import entry_points
from typing import Any

from netraven.credentials.standing import REFUSED_BACKOFF
from netraven.credentials.strategies.explore import ExploreStrategy
from netraven.credentials.strategies.last_good import LastGoodStrategy
from netraven.credentials.strategies.priority import PriorityStrategy
from netraven.credentials.strategies.success_rate import SuccessRateStrategy
from netraven.errors import InputError
from netraven.model import Choice, Credential, Device
from netraven.ports import Evidence, Strategy

__all__ = ["PriorityStrategy", "strategy_named"]

ENTRY_POINTS = "netraven.strategies"
"""The group in which an installed package offers strategies by name."""

_FOR_EVER = 10 * 365 * 86400.0
"""Seconds. A longer back-off is no different, and could not be added to a date."""

_BUILT_IN: dict[str, Callable[[timedelta], Strategy]] = {
    LastGoodStrategy.name: LastGoodStrategy,
    PriorityStrategy.name: lambda _: PriorityStrategy(),
    SuccessRateStrategy.name: SuccessRateStrategy,
    ExploreStrategy.name: ExploreStrategy,
}


def strategy_named(name: str, *, refused_backoff: float = REFUSED_BACKOFF.total_seconds()) -> Strategy:
    """One that NetRaven brings along, an entry point's, or ``module:Class``. ``refused_backoff`` is in seconds.

    Raises ``InputError`` for a name that is not known (naming the closest) and for a class that is no strategy.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name](timedelta(seconds=min(refused_backoff, _FOR_EVER)))
    if ":" in name:
        return _made(_imported(name), name)
    offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in offered:
        try:
            found = offered[name].load()
        except Exception as error:
            raise InputError(
                f"strategy {name!r}: its entry point {offered[name].value!r} cannot be loaded: {_said(error)}"
            ) from error
        return _made(found, name)
    raise InputError(f"unknown strategy {name!r}{_closest(name, [*_BUILT_IN, *offered])}")


def _closest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f", did you mean {close[0]!r}?"
    return f". Known are: {', '.join(sorted(known))}; a class of your own is named module:Class"


def _imported(name: str) -> object:
    where, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(where)
    except Exception as error:  # a module may fail in any way while it is imported
        raise InputError(f"strategy {name!r}: cannot import {where!r}: {_said(error)}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            classes = [known for known, value in vars(found).items() if isinstance(value, type)]
            close = difflib.get_close_matches(part, classes, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise InputError(f"strategy {name!r}: {where!r} has no {part!r}{hint}")
        found = getattr(found, part)
    return found


def _made(found: object, name: str) -> Strategy:
    """An instance of the class that was named; raises ``InputError`` where it is no strategy."""
    if not isinstance(found, type):
        raise InputError(f"strategy {name!r} is no class but {type(found).__name__}")
    try:
        made: Any = found()
    except Exception as error:  # a class of somebody else's
        raise InputError(f"strategy {name!r}: cannot be made without arguments: {_said(error)}") from error
    if not isinstance(getattr(made, "name", None), str) or not made.name:
        raise InputError(f"strategy {name!r} is no strategy: it has no text `name`")
    if not inspect.iscoroutinefunction(getattr(made, "rank", None)):
        raise InputError(f"strategy {name!r} is no strategy: it has no `async def rank`")
    if _takes(made.rank, 3):
        strategy: Strategy = made
        return strategy
    if _takes(made.rank, 2):
        return _WithoutEvidence(made.name, made.rank)
    raise InputError(
        f"strategy {name!r} is no strategy: rank takes {inspect.signature(made.rank)}, "
        "and is called with (device, candidates, evidence), or (device, candidates)"
    )


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class _WithoutEvidence:
    """A strategy whose ``rank`` asks for no evidence."""

    def __init__(self, name: str, rank: Callable[[Device, Sequence[Credential]], Any]) -> None:
        self.name = name
        self._rank = rank

    async def rank(
        self,
        device: Device,
        candidates: Sequence[Credential],
        evidence: Evidence,  # noqa: ARG002 - that is what it is for
    ) -> Sequence[Choice]:
        choices: Sequence[Choice] = await self._rank(device, candidates)
        return choices
