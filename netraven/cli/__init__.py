"""The command line. `main` is what the `netraven` script calls; what is heavy is imported by who needs it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        from netraven.cli.entry import run

        return run(argv)
    except KeyboardInterrupt:  # so early that nothing had begun
        return 130
