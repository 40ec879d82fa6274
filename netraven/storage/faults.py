"""What databases and their drivers raise, mapped once to ``DatabaseError``.

The messages are our own, or the driver's first line where that line cannot hold data: statements and their parameters
never get into a message, for they hold what devices and people wrote.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from netraven.errors import DatabaseError, RowRefused

# https://www.sqlite.org/rescode.html; an extended code starts with the name of its primary one.
_SQLITE = {
    "SQLITE_BUSY": "another process keeps it locked",
    "SQLITE_LOCKED": "another connection has locked it",
    "SQLITE_READONLY": "it is read-only: this user needs write permission on the file and on its directory",
    "SQLITE_CANTOPEN": "it cannot be opened: this user needs write permission on the file and on its directory",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk failed to read or write (disk full, quota, or a fault; see the system's log)",
    "SQLITE_NOTADB": "the file is not a SQLite database",
    "SQLITE_CORRUPT": "the file is damaged: restore it from a backup",
    "SQLITE_TOOBIG": "a value is too large",
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html; a code of two characters stands for its class.
_POSTGRESQL = {
    "28": "the server refused the user or the password",
    "3D000": "the server has no database of this name: create it first (createdb)",
    "3F": "the schema does not exist",
    "42501": "the user lacks a permission in this database",
    "53100": "the server's disk is full",
    "53300": "the server has no connections left",
    "53": "the server has run out of a resource",
    "57P03": "the server is starting up or shutting down",
    "57": "the server ended the statement or the connection",
    "40P01": "the server broke a deadlock by undoing this transaction",
    "40": "the server undid this transaction for another one's sake",
    "25006": "the server is read-only (a standby?)",
    "42704": "the server does not know a setting in the database URL",
    "08": "the connection to the server was lost",
}


class Undone(DatabaseError):
    """The server undid the transaction for the sake of another one (a deadlock): the same once more can succeed."""


@contextmanager
def mapped(where: str) -> Iterator[None]:
    """Raise ``DatabaseError`` (:class:`RowRefused` for broken constraints) for whatever the database raises inside.

    ``where`` is the database as people may see it, without its password.
    """
    try:
        yield
    except IntegrityError as error:
        raise RowRefused(f"database {where}: {_first_line(error)}") from error
    except DataError as error:
        raise RowRefused(f"database {where}: a value does not fit its column") from error
    except PoolTimeout as error:
        raise DatabaseError(f"database {where}: no connection came free in time") from error
    except DBAPIError as error:
        state = str(getattr(error.orig, "sqlstate", ""))
        if state[:2] in ("22", "54") or isinstance(getattr(error.orig, "__cause__", None), ValueError):
            raise RowRefused(f"database {where}: a value does not fit its column") from error
        kind = Undone if state.startswith("40") else DatabaseError
        raise kind(f"database {where}: {_reason(error)}") from error
    except sqlite3.Error as error:  # of a statement that went to the driver itself
        raise DatabaseError(f"database {where}: {_sqlite_reason(error) or 'SQLite refuses'}") from error
    except SQLAlchemyError as error:
        raise DatabaseError(f"database {where}: {type(error).__name__}") from error
    except (OverflowError, UnicodeError) as error:  # the driver cannot even pass the value on
        raise RowRefused(f"database {where}: a value does not fit its column") from error
    except TimeoutError as error:
        raise DatabaseError(f"database {where}: the server did not answer in time") from error
    except OSError as error:
        raise DatabaseError(
            f"database {where}: the server cannot be reached ({_os_reason(error)})"
        ) from error


def _reason(error: DBAPIError) -> str:
    original = error.orig
    if text := _sqlite_reason(original):
        return text
    state = str(getattr(original, "sqlstate", None) or "")
    for length in (5, 2):
        if text := _POSTGRESQL.get(state[:length], ""):
            return text
    if error.connection_invalidated:
        return _POSTGRESQL["08"]
    return _first_line(error)


def _sqlite_reason(error: BaseException | None) -> str:
    name = str(getattr(error, "sqlite_errorname", ""))
    return next((text for code, text in _SQLITE.items() if name == code or name.startswith(code + "_")), "")


def _first_line(error: DBAPIError) -> str:
    """The driver's own words without the detail lines, which can quote a row."""
    text = str(error.orig).split("\n", 1)[0]
    return text.split(">: ", 1)[-1] if text.startswith("<class ") else text


def _os_reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
