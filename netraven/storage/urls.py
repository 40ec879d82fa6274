"""Database URLs as people write them, made into what the async drivers take."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from netraven.errors import DatabaseUnfit

CONNECT_TIMEOUT = 10.0
"""Seconds for PostgreSQL to answer; ``connect_timeout`` in the URL says otherwise."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a database is. ``shown`` is for people and has no password in it."""

    shown: str
    path: Path | None
    """The file, for SQLite; None for a server."""
    connect_args: dict[str, Any] = field(default_factory=dict, repr=False)
    """What the driver is called with. A server's password is in here."""

    @property
    def is_sqlite(self) -> bool:
        return self.path is not None


def locate(url: str) -> Location:
    """Read a database URL, or raise ``DatabaseUnfit``.

    ``sqlite:///relative.db``, ``sqlite:////absolute.db`` and ``postgresql://user:password@host/name``, each also with
    its async driver named (``sqlite+aiosqlite``, ``postgresql+asyncpg``). For SQLite the query may hold
    ``busy_timeout``, the seconds that a lock of another process is waited for. For PostgreSQL the query may hold what
    libpq's URLs hold: ``sslmode`` and its companions, ``host=/socket/directory``, ``application_name``; what is
    none of these goes to the server as a setting.
    """
    parsed = _parsed(url)
    if parsed is None:
        raise DatabaseUnfit(
            "the database URL cannot be read: write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME, "
            "with a / or @ in the password written as %2F or %40"
        )
    match parsed.drivername:
        case "sqlite" | "sqlite+aiosqlite":
            return _sqlite(parsed)
        case "postgresql" | "postgres" | "postgresql+asyncpg":
            return _postgresql(parsed)
    raise DatabaseUnfit(f"{parsed.drivername} databases are not supported: use sqlite or postgresql")


def _parsed(url: str) -> URL | None:
    """None where it cannot be read: why quotes a part of the URL, which can be a part of the password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    server = parsed.drivername.startswith("postgres")
    misread = server and "@" in f"{parsed.host or ''}{parsed.database or ''}"  # part of a password
    return None if misread else parsed


def _sqlite(url: URL) -> Location:
    if not url.database or url.database == ":memory:":
        raise DatabaseUnfit("the database URL names no file: write sqlite:///FILE")
    path = Path(url.database).expanduser()
    told = url.query.get("busy_timeout")
    return Location(str(path), path, {} if told is None else {"busy_timeout": _seconds("busy_timeout", told)})


def _postgresql(url: URL) -> Location:
    query = dict(url.query)
    if "ssl" in query:  # as SQLAlchemy's own URLs for this driver call it
        query.setdefault("sslmode", query.pop("ssl"))
    query.setdefault("application_name", "netraven")
    timeout = query.pop("connect_timeout", None)
    seconds = CONNECT_TIMEOUT if timeout is None else _seconds("connect_timeout", timeout)
    # The driver reads the whole URL itself, as libpq would, certificates, socket directories and ~/.pgpass included.
    dsn = url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
    secretless = {key: value for key, value in url.query.items() if key not in {"password", "sslpassword"}}
    shown = url.set(drivername="postgresql", query=secretless).render_as_string(hide_password=True)
    return Location(shown, None, {"dsn": dsn, "timeout": seconds or None})


def _seconds(name: str, told: object) -> float:
    try:
        seconds = float(str(told))
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < 1e6:
        raise DatabaseUnfit(f"{name} in the database URL is not a number of seconds")
    return seconds
