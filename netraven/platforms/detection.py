"""Which platform a device is, from what was seen of it. Pure: what to ask next is decided here, asked elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from netraven.platforms.model import Detection, Platform

MOST_COMMANDS = 4
"""So many commands are typed at most."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a device."""

    greeting: str
    """SSH version string, banner and whatever came before the first prompt."""
    prompt: str
    answers: Mapping[str, str] = field(default_factory=dict)
    """By the command."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The command that tells most."""

    command: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """Nothing more can be asked. ``among`` fit equally well; none where nothing fits."""

    among: tuple[str, ...] = ()


def decide(candidates: Sequence[Platform], seen: Seen) -> Platform | Ask | Undecided:
    """The platform of the best detection that holds, once no better one is open.

    The lower rank is better; of one rank, the detection that asks for more.
    """
    holding, open_ones = [], []
    for platform, detection in _each(candidates):
        verdict = _holds(detection, seen)
        if verdict:
            holding.append((_place(detection), platform))
        elif verdict is None:
            open_ones.append((_place(detection), detection.command or ""))
    best = min((place for place, _ in holding), default=None)
    worth_asking = [(place, command) for place, command in open_ones if best is None or place < best]
    if worth_asking and len(seen.answers) < MOST_COMMANDS:
        return Ask(_most_telling(worth_asking))
    names = {platform.name: platform for place, platform in holding if place == best}
    if len(names) == 1:
        return next(iter(names.values()))
    return Undecided(tuple(sorted(names)))


def _each(candidates: Sequence[Platform]) -> Iterator[tuple[Platform, Detection]]:
    for platform in candidates:
        for detection in platform.detection:
            yield platform, detection


def _holds(detection: Detection, seen: Seen) -> bool | None:
    """None: its command has not been asked yet and all else holds."""
    if detection.banner is not None and not detection.banner.search(seen.greeting):
        return False
    if detection.prompt is not None and not detection.prompt.search(seen.prompt):
        return False
    if detection.command is None:
        return detection.banner is not None or detection.prompt is not None
    if detection.command not in seen.answers:
        return None
    return detection.answer is None or detection.answer.search(seen.answers[detection.command]) is not None


def _place(detection: Detection) -> tuple[int, int]:
    told = (detection.banner, detection.prompt, detection.command)
    return detection.rank, -sum(one is not None for one in told)


def _most_telling(asking: Sequence[tuple[tuple[int, int], str]]) -> str:
    """The command that most detections wait for; of equals, the one of the better place, then by its text."""
    counts = Counter(command for _, command in asking)
    place = {command: min(p for p, c in asking if c == command) for command in counts}
    return min(counts, key=lambda command: (-counts[command], place[command], command))
