"""How a run goes, while it goes: a live display on a terminal, a line now and then elsewhere. All of it on stderr.

What a finished device costs here is a few additions; drawing happens four times a second, whatever the run does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from netraven.cli.kinds import kind_of
from netraven.cli.notices import STANDING, said
from netraven.cli.screen import cell, console, counted, note, took
from netraven.model import Counts, Outcome, Run, Status, What, utcnow

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

    from netraven.collect.fleet import Fleet

EVERY = 10.0
"""Seconds between two lines where nobody watches."""
_PER_SECOND = 4
_WINDOW = 15.0
"""Seconds that the shown rate looks back."""
_STOPPING = "stopping: sessions are being closed, what was done is kept"
_LAST = 5
"""Failures that stay in sight."""


def paced() -> Callable[[str, int], None]:
    """A line on stderr now and then of what is being done, and how much of it is."""
    last = time.monotonic()

    def tell(what: str, number: int) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            note(f"{number:,} {what}")

    return tell


class Tally:
    """An ``app.Observer`` that counts."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.fleet: Fleet | None = None
        self.total = 0
        self.collected = 0
        self.failed = 0
        self.skipped = 0
        self.last_failures: deque[Outcome] = deque(maxlen=_LAST)
        self.began = time.monotonic()
        self._before = 0
        """Devices that were done when this began to watch."""
        self._marks: deque[tuple[float, int]] = deque()

    def run_started(self, run: Run, fleet: Fleet) -> None:
        self.fleet = fleet
        self.goes_on(run)
        self.began, self._before = time.monotonic(), self.done

    def follows(self, run: Run) -> None:
        """The run is another process's, and :meth:`goes_on` is told of it."""
        self.goes_on(run)
        self.began, self._before = time.monotonic(), self.done

    def goes_on(self, run: Run, counts: Counts | None = None) -> None:
        """A run that has come so far, by ``counts`` where they are newer than its own."""
        counts = counts or run.counts
        self.run, self.total = run, counts.devices
        self.collected, self.failed, self.skipped = counts.collected, counts.failed, counts.skipped

    def device_finished(self, outcome: Outcome) -> None:
        if outcome.status in (Status.COLLECTED, Status.CHECKED):
            self.collected += 1
        elif outcome.status is Status.FAILED:
            self.failed += 1
            self.last_failures.append(outcome)
        else:
            self.skipped += 1

    def noticed(self, event: str, data: Mapping[str, object]) -> None:
        if event not in STANDING and (sentence := said(event, data, utcnow())) is not None:
            self.tell(sentence)

    def tell(self, sentence: str) -> None:
        """Something that a person should know now."""

    @property
    def well(self) -> str:
        """What a device is that went well."""
        return kind_of(What.CONFIGURATION if self.run is None else self.run.what).well

    @property
    def waiting(self) -> int:
        """Devices that the lockout guard makes wait."""
        return self.fleet.waiting if self.fleet is not None else 0

    @property
    def in_session(self) -> int:
        return self.fleet.in_session if self.fleet is not None else 0

    @property
    def done(self) -> int:
        return self.collected + self.failed + self.skipped

    def rate(self) -> float:
        """Devices a second, of late. Called once for each drawing."""
        now = time.monotonic()
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()
        since, before = self._marks[0] if len(self._marks) > 1 else (self.began, self._before)
        return (self.done - before) / (now - since) if now - since > 0.2 else 0.0

    def pace(self, a_second: str) -> str:
        """The rate, and how long the rest takes at that rate."""
        rate, rest = self.rate(), self.total - self.done
        if rate <= 0 or rest <= 0:
            return f"{rate:.1f}{a_second}"
        seconds = max(1, round(rest / rate))
        return f"{rate:.1f}{a_second}, {took(seconds * 1000) if seconds >= 100 else f'{seconds} s'} left"

    def counts(self) -> str:
        said = f"{self.collected:,} {self.well}, {self.failed:,} failed"
        return f"{said}, {self.skipped:,} skipped" if self.skipped else said


class Quiet(Tally):
    """Lines for a log or a mail: one at the start, one every ten seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._ticking: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        return self

    def run_started(self, run: Run, fleet: Fleet) -> None:
        super().run_started(run, fleet)
        self._begin(run)

    def follows(self, run: Run) -> None:
        super().follows(run)
        self._begin(run)

    def _begin(self, run: Run) -> None:
        note(f"run {run.id}: {counted(self.total, 'device')}, up to {run.concurrency:,} at a time")
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            held_up = f"; {self.waiting:,} wait for the lockout guard" if self.waiting else ""
            note(f"{self.done:,} of {self.total:,} done: {self.counts()}{held_up}; {self.pace(' a second')}")

    def tell(self, sentence: str) -> None:
        note(sentence)

    def stopping(self) -> None:
        note(_STOPPING)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticking is not None:
            self._ticking.cancel()


class Display(Tally):
    """A bar, the numbers, and the failures seen last; gone when the run is over."""

    def __init__(self, where: Console) -> None:
        super().__init__()
        self._console = where
        self._stopping = False
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(
            self, console=self._console, refresh_per_second=_PER_SECOND, transient=True, redirect_stdout=False
        )
        self._live.start()
        return self

    def stopping(self) -> None:
        self._stopping = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.stop()

    def tell(self, sentence: str) -> None:
        """Above the bar, where it stays."""
        with contextlib.suppress(OSError):
            self._console.print(cell(sentence, "yellow"))

    def __rich_console__(self, where: Console, options: ConsoleOptions) -> RenderResult:
        from rich.progress_bar import ProgressBar
        from rich.segment import Segment
        from rich.text import Text

        if self.run is None:
            yield Text("reading devices and credentials", style="dim")
            return
        in_session = self.in_session
        yield ProgressBar(
            total=max(1, self.total), completed=self.done, width=max(10, min(60, options.max_width - 20))
        )
        yield Segment.line()
        line = Text().append(f"{self.done:,} of {self.total:,}  ", style="bold")
        line.append(f"{self.collected:,} {self.well}", style="green")
        line.append(f"  {self.failed:,} failed", style="red" if self.failed else "dim")
        if self.skipped:
            line.append(f"  {self.skipped:,} skipped", style="yellow")
        if self.fleet is not None:
            line.append(f"  {in_session:,} in session", style="dim")
        if self.waiting:
            line.append(f"  {self.waiting:,} wait for the guard", style="yellow")
        line.append(f"  {self.pace('/s')}", style="dim")
        yield line
        for outcome in tuple(self.last_failures):
            yield Text("  ", no_wrap=True, overflow="ellipsis").join(
                (cell(outcome.reason, "red"), cell(outcome.device.name), cell(outcome.detail or "", "dim"))
            )
        if self._stopping:
            yield Text(_STOPPING, style="bold yellow")


def watcher() -> Quiet | Display:
    """What fits the place where stderr goes."""
    where = console(stderr=True)
    return Display(where) if where.is_terminal and not where.is_dumb_terminal else Quiet()
