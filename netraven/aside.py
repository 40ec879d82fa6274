"""Blocking calls beside the event loop, each with a deadline that holds even where the call does not come back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def aside(work: Callable[[], T], *, timeout: float, name: str) -> T:  # noqa: ASYNC109 - the thread goes on, only the waiting ends
    """Do ``work`` in a thread of its own; raise ``TimeoutError`` once ``timeout`` seconds are over.

    The thread is a daemon: a call that hangs in a dead file server keeps neither the loop nor the process from ending,
    as one in the loop's pool of threads would.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    async with asyncio.timeout(timeout):
        return await done
