"""Selectors as conditions of statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Boolean, ColumnElement, exists, literal, or_, select, union
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from netraven.model import Selector, Status
from netraven.storage.schema import device_tags, devices, run_outcomes, run_targets
from netraven.storage.schema import tags as tag_table

T = TypeVar("T")

PAGE = 500
"""Devices that are read, or written, together."""
WELL = (Status.COLLECTED.value, Status.CHECKED.value)
"""Outcomes of devices that there is nothing to try again at."""


def selecting(selector: Selector) -> Iterator[list[ColumnElement[bool]]]:
    """The selector as conditions; named devices come in slices, for a statement takes only so many parameters."""
    conditions: list[ColumnElement[bool]] = []
    if selector.tags:
        conditions.append(_tagged(sorted(selector.tags)))
    if selector.without_tags:
        conditions.append(~_tagged(sorted(selector.without_tags)))
    if selector.platforms:
        conditions.append(devices.c.platform.in_(sorted(selector.platforms)))
    if selector.without_platforms:
        conditions.append(devices.c.platform.not_in(sorted(selector.without_platforms)))
    if selector.patterns:
        conditions.append(or_(*map(_fits, sorted(selector.patterns))))
    if selector.without_patterns:
        conditions.append(~or_(*map(_fits, sorted(selector.without_patterns))))
    if selector.retry_of is not None:
        conditions.append(not_collected_in(selector.retry_of))
    if not selector.names:
        yield conditions
    for names in slices(sorted(selector.names), PAGE):
        yield [*conditions, devices.c.name.in_(names)]


def slices(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _tagged(names: Sequence[str]) -> ColumnElement[bool]:
    tagged = (
        exists()
        .where(device_tags.c.device_id == devices.c.id, tag_table.c.name.in_(names))
        .where(tag_table.c.id == device_tags.c.tag_id)
    )
    return tagged.correlate(devices)


class _Globbed(FunctionElement[bool]):
    """Whether a name fits a pattern of ``*`` and ``?``: GLOB on SQLite, LIKE, which minds capitals there, elsewhere."""

    name = "globbed"
    type = Boolean()
    inherit_cache = True


@compiles(_Globbed)
def _compile(element: _Globbed, compiler: Any, **words: Any) -> str:
    name, glob, like = element.clauses
    if compiler.dialect.name == "sqlite":
        return f"{compiler.process(name, **words)} GLOB {compiler.process(glob, **words)}"
    return f"{compiler.process(name, **words)} LIKE {compiler.process(like, **words)}"


def _fits(pattern: str) -> ColumnElement[bool]:
    glob = pattern.replace("[", "[[]")
    like = "".join(
        {"*": "%", "?": "_"}.get(sign, f"\\{sign}" if sign in "%_\\" else sign) for sign in pattern
    )
    return _Globbed(devices.c.name, literal(glob), literal(like))


def not_collected_in(run_id: int) -> ColumnElement[bool]:
    """Whether a device was to be visited in a run, or was, and is still to be collected."""
    outcome, target = run_outcomes.c, run_targets.c
    well = select(outcome.id).where(
        outcome.run_id == run_id, outcome.device_name == devices.c.name, outcome.status.in_(WELL)
    )
    tried = select(outcome.device_id).where(outcome.run_id == run_id)
    meant = select(target.device_id).where(target.run_id == run_id)
    return devices.c.id.in_(union(tried, meant)) & ~well.exists()


def without_outcome(run_id: int) -> ColumnElement[bool]:
    """Whether a device has no outcome in a run yet."""
    done = select(run_outcomes.c.id).where(
        run_outcomes.c.run_id == run_id, run_outcomes.c.device_name == devices.c.name
    )
    return ~done.exists()
