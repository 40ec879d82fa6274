"""From the words on the command line to an exit code.

0: done. 1: not everything was collected, or a check found something. 2: usage, settings or input, or the output cannot
be written. 70: a fault of NetRaven. 130: interrupted. 141: whoever read the output has gone.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO, cast

from netraven.cli.parser import parse
from netraven.cli.words import Done, UsageError
from netraven.errors import NetRavenError
from netraven.plain import plain

DONE = 0
NOT_ALL = 1
USAGE = 2
FAULT = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130
BROKEN_PIPE = 141


class OutputError(OSError):
    """The results cannot be written: the disk is full, the terminal has gone."""


def run(argv: Sequence[str] | None = None) -> int:
    _open_closed_streams()
    _make_safe(sys.stdout, sys.stderr)
    # Said by cryptography of what old devices have nothing better than; `device ssh` says what is weak.
    warnings.filterwarnings("ignore", message="Diffie-Hellman over finite fields")
    stdout = sys.stdout
    sys.stdout = cast("TextIO", _Output(stdout))
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere(stdout)
        return BROKEN_PIPE
    except OutputError as error:
        _to_nowhere(stdout)
        _complain(f"error: cannot write the output: {error.strerror}")
        return USAGE
    finally:
        sys.stdout = stdout
    return code


def _run(argv: Sequence[str]) -> int:
    try:
        wanted = parse(argv)
        from netraven.cli.context import Context

        context = Context(config=wanted.config)
        module, _, function = wanted.handler.partition(":")
        result = getattr(import_module(module), function)(context, **wanted.options)
        if inspect.iscoroutine(result):
            result = context.run(result)
    except Done as done:
        print(done.text)
        return DONE
    except UsageError as error:
        _complain(str(error))
        return USAGE
    except NetRavenError as error:
        _complain(f"error: {error}")
        return USAGE
    except (BrokenPipeError, OutputError):
        raise
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one to know says so, and where to read on
        _complain(f"error: a fault of NetRaven: {type(error).__name__}; {_keep_traceback(error)}")
        return FAULT
    return DONE if result is None else int(result)


def _complain(message: str) -> None:
    try:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        sys.stderr.write(plain(message) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody listens any more; the exit code says it


def _keep_traceback(error: Exception) -> str:
    """Write the traceback where it can be read, and say where that is."""
    import traceback

    text = plain("".join(traceback.format_exception(error)))
    try:
        handle, path = tempfile.mkstemp(prefix="netraven-fault-", suffix=".txt")  # readable by its owner only
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return f"its traceback could not be kept: {text.splitlines()[-1]}"
    return f"the traceback is in {Path(path)}"


class _Output:
    """Standard output that tells its own faults from those of files and sockets."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _named():
            return self._stream.write(text)

    def flush(self) -> None:
        with _named():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error.errno, error.strerror) from error


def _open_closed_streams() -> None:
    """Python has None for a stream that was closed (``>&-``). In this order each gets its own number back."""
    for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            mode = "r" if flags == os.O_RDONLY else "w"
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8"))


def _make_safe(*streams: TextIO) -> None:
    """Characters that a terminal's encoding lacks are written out, not fatal."""
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _to_nowhere(stream: TextIO) -> None:
    """What is still buffered would be written at exit, to whoever has gone."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
