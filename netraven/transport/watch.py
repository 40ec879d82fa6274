"""A shell whose bytes somebody watches, as they go out and come in."""

from __future__ import annotations

from collections.abc import Callable

import asyncssh

from netraven.transport.channel import ShellChannel

Watch = Callable[[str, bytes], None]
"""Called with ``out`` or ``in``, and the bytes: with every secret that goes through the shell."""


class WatchedChannel(ShellChannel):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def write(self, data: bytes) -> None:
        super().write(data)
        self._watch("out", data)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._watch("in", data)
        super().data_received(data, datatype)
