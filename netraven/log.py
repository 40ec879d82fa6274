"""Logging, set up by whoever owns the process (the commands, the daemon) and by nobody else.

A line is an event with fields. Two things hold for every line, whoever wrote it: what a device controls is made
harmless first (`plain`), and no field that is named like a secret is printed. Third-party loggers are heard from
WARNING on (asyncssh and asyncio from INFO on at level debug): scrapli prints what it sends at INFO, asyncssh
at DEBUG, aiosqlite and SQLAlchemy the parameters of statements, and any of that may be a secret.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog

from netraven.plain import plain, plain_line

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
LONGEST = 2_000
"""Characters of one field."""

_TALKATIVE = ("asyncssh", "asyncio")
_SECRET = frozenset(
    {"password", "passwd", "secret", "private_key", "enable", "passphrase", "token", "key_text", "dsn"}
)
_SECRET_ENDINGS = ("_password", "_secret", "_passphrase", "_private_key", "_token")
_REDACTED = "[not shown]"

Event = MutableMapping[str, Any]


def configure(
    level: str = "warning",
    format: Literal["auto", "console", "json"] | str = "auto",
    stream: TextIO | None = None,
) -> None:
    """Send every log line of the process to ``stream`` (None: to whatever ``sys.stderr`` is when a line is written).

    ``format`` ``auto``: for people where the stream is a terminal, one JSON object a line elsewhere.
    """
    lowest = LEVELS[level]
    sink = _Sink(stream)
    terminal = sink.isatty()
    for_people = format == "console" or (format == "auto" and terminal)
    renderer: Any = structlog.processors.JSONRenderer()
    if for_people:
        renderer = structlog.dev.ConsoleRenderer(
            colors=terminal and not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback,  # the others print local variables
            pad_event_to=0,
        )
    handler = _Handler(sink, lowest)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,  # of whoever logs without structlog
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                without_secrets,
                cleaned,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    # Of others nothing below this is heard (see _Handler), so its making is saved too.
    root.setLevel(logging.INFO if lowest <= logging.DEBUG else max(lowest, logging.WARNING))
    logging.getLogger("netraven").setLevel(lowest)
    for name in ("sqlalchemy", "aiosqlite", "alembic"):
        logging.getLogger(name).setLevel(
            logging.WARNING
        )  # they also save the work of making lines that nobody sees


def without_secrets(_logger: Any, _method: str, event: Event) -> Event:
    """Nothing in the code logs a secret; should a field ever be named like one, its value stays out all the same."""
    return {key: _REDACTED if _is_secret(key) else _without(value) for key, value in event.items()}


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _REDACTED if _is_secret(key) else _without(item) for key, item in value.items()}
    return value


def _is_secret(key: object) -> bool:
    name = str(key).lower()
    return name in _SECRET or name.endswith(_SECRET_ENDINGS)


def cleaned(_logger: Any, _method: str, event: Event) -> Event:
    """Every text on one line and without control characters; a traceback keeps its lines."""
    return {
        key: plain(value) if key in ("exception", "stack") else _clean(value) for key, value in event.items()
    }


def _clean(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return plain_line(value, LONGEST)
    if isinstance(value, Mapping):
        return {plain_line(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    if isinstance(value, logging.LogRecord):
        return value
    return plain_line(str(value) if isinstance(value, BaseException) else repr(value), LONGEST)


class _Handler(logging.Handler):
    """Where the standard library's log records end up."""

    def __init__(self, sink: _Sink, lowest: int) -> None:
        super().__init__()
        self._sink = sink
        self._lowest = lowest

    def filter(self, record: logging.LogRecord) -> bool:
        family = record.name.partition(".")[0]
        if family == "netraven":
            return record.levelno >= self._lowest
        everything = family in _TALKATIVE and self._lowest <= logging.DEBUG
        return record.levelno >= max(self._lowest, logging.INFO if everything else logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a log line that cannot be formatted must not end what it speaks of
            self.handleError(record)


class _Sink:
    """A stream that is looked up for each line (a progress display may stand in for it), and may be gone."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def stream(self) -> TextIO:
        return self._stream if self._stream is not None else sys.stderr

    def isatty(self) -> bool:
        try:
            return self.stream.isatty()
        except ValueError:
            return False

    def write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except UnicodeEncodeError:
            self.stream.write(text.encode("ascii", "backslashreplace").decode())
        except (OSError, ValueError):
            pass  # nobody listens any more

    def flush(self) -> None:
        """Every write is flushed."""
