"""Column types that mean the same on both databases."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import JSON, BigInteger, DateTime, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.types import TypeDecorator, TypeEngine

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000
_SECOND = 1_000_000


class NaiveTime(DontWrapMixin, ValueError):
    """A datetime without a time zone was about to be stored: nobody could say later which moment it meant."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: refuses naive datetimes, and always gives back aware ones in UTC.

    PostgreSQL has ``timestamptz``. SQLite has no type for time; there it is whole microseconds since 1970, which
    compare and index as integers, lose nothing, and take 8 bytes where ISO text takes 26. ``datetime(column / 1e6,
    'unixepoch')`` shows one by hand.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise NaiveTime(
                "a time without a zone cannot be stored: use timezone-aware UTC (netraven.model.utcnow)"
            )
        if dialect.name != "sqlite":
            return value
        since = value - _EPOCH
        return since.days * _DAY + since.seconds * _SECOND + since.microseconds

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name != "sqlite":
            return value.astimezone(UTC)  # type: ignore[no-any-return]  # the dialect gives datetimes
        return _EPOCH + timedelta(microseconds=value)


Id = BigInteger().with_variant(Integer(), "sqlite")
"""A generated key. SQLite numbers rows by themselves only where the type is exactly INTEGER."""

Name = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is sorted and paged by: byte order on both databases, whatever the server's locale."""

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def padded(values: Iterable[T]) -> list[T]:
    """``values`` for an ``IN`` list, filled up to a power of two with repetitions of the last one.

    The statement's text then comes in a handful of lengths only, and the server's prepared statements are found again.
    """
    filled = list(values)
    if filled:
        filled += filled[-1:] * ((1 << (len(filled) - 1).bit_length()) - len(filled))
    return filled
