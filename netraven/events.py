"""Loggers for library code: an event with fields, handed to the standard library's logging.

A program that embeds NetRaven sees records of the loggers ``netraven.*``: the event is the message, the fields are
extra attributes. Nothing is set up here; the command line and the daemon do that (``netraven.log``), an embedder as it
likes.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog


def events(name: str) -> Any:
    """A structlog logger over the standard library's logger ``name``: ``log.info("device_retry", device=...)``."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def bind(**fields: Any) -> None:
    """Fields that every line of this task carries from here on, and of the tasks that it starts."""
    structlog.contextvars.bind_contextvars(**fields)
