"""What commits say. The same for the same versions, so that a rebuilt repository has the same commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from netraven.git.repository import TRAILER
from netraven.model import Exported, Portion, Version
from netraven.plain import plain_line

NAMED = 20
"""Devices that a message names."""


@dataclass(frozen=True, slots=True)
class File:
    """A version at its path; ``mark`` is its blob."""

    path: str
    mark: int
    version: Version


@dataclass(frozen=True, slots=True)
class Commit:
    at: datetime
    message: str
    files: Sequence[File]


def per_run(portion: Portion, files: Sequence[File]) -> Commit:
    """All that a run brought."""
    devices = sorted({file.version.device for file in files})
    fresh = {file.version.device for file in files if file.version.number == 1}
    counts = [f"{number:,} {word}" for number, word in _counts(len(devices), len(fresh)) if number]
    nothing = "nothing that can be shown" if portion.run else "nothing newer than what is here"
    subject = f"{_of(portion)}: {', '.join(counts) or nothing}"
    return Commit(portion.at, _message(subject, devices, portion.exported), files)


def _counts(devices: int, fresh: int) -> Iterable[tuple[int, str]]:
    changed = devices - fresh
    return (changed, "device changed" if changed == 1 else "devices changed"), (fresh, "new")


def per_device(portion: Portion, files: Sequence[File]) -> Sequence[Commit]:
    """A commit for each device. What the repository holds is said by the last: until then it is not all there."""
    of_device: dict[str, list[File]] = {}
    for file in files:
        of_device.setdefault(file.version.device, []).append(file)
    commits = []
    for device, its in of_device.items():
        word = "new" if all(file.version.number == 1 for file in its) else "changed"
        kinds = ", ".join(sorted({file.version.kind for file in its}))
        at = min(file.version.first_seen_at for file in its)
        subject = f"{plain_line(device, 100)}: {kinds} {word}, {_of(portion).lower()}"
        commits.append(Commit(at, subject, its))
    commits.sort(key=lambda commit: (commit.at, commit.files[0].version.device))
    if commits:
        last = commits[-1]
        commits[-1] = replace(last, message=_message(last.message, (), portion.exported))
    return commits


def set_right(gone: Sequence[str], came: Sequence[File], exported: Exported) -> str:
    """Of a commit that follows the inventory and the settings, and no run."""
    counts = [f"{len(gone):,} gone" if gone else "", f"{len(came):,} put in place" if came else ""]
    subject = f"Files: {', '.join(count for count in counts if count)}"
    return _message(subject, [*gone, *(file.path for file in came)], exported)


def _of(portion: Portion) -> str:
    return f"Run {portion.run}" if portion.run is not None else "Imported"


def _message(subject: str, names: Sequence[str], exported: Exported) -> str:
    lines = [subject, ""]
    lines += [plain_line(name, 300) for name in names[:NAMED]]
    if len(names) > NAMED:
        lines.append(f"and {len(names) - NAMED:,} more")
    if names:
        lines.append("")
    return "\n".join([*lines, f"{TRAILER}: {exported}", ""])
