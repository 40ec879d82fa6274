"""How many secrets each strategy offers until a fleet is open: simulated fleets, the real strategies and evidence.

No SSH and no clock: a device is a set of credentials that it accepts. Devices are visited one at a time, in random
order, and what one answers is known for the next. There is no lockout guard here: the question is how few refusals
an order causes by itself, and how many accounts it would have locked.

``python -m benchmarks.strategies [--quick]`` answers this question alone.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context

from benchmarks.bench import QUICK, Bench, Sizes
from benchmarks.table import Answer, Row
from netraven.credentials.evidence import Knowledge, Learned, faded, judged
from netraven.credentials.standing import arranged, standing
from netraven.credentials.strategy import strategy_named
from netraven.credentials.success_rate import Step
from netraven.model import Choice, Credential, CredentialMetrics, Device, Pair, Target, Verdict
from netraven.ports import Evidence, Strategy

ROLES = ("access", "branch", "core", "dc", "edge", "wan")
REGIONS = ("apac", "emea", "latam", "mena", "nordics", "us")
TIERS = ("bronze", "gold", "silver")
PLATFORMS = ("arista_eos", "cisco_iosxe", "cisco_nxos", "juniper_junos")
LOGINS = 5
SKEW = 0.3
"""Parameter of the Dirichlet distribution that shares are drawn from: mostly one large share, the rest small."""
THRESHOLD = 5
"""Refusals in a row at which the AAA locks an account."""
START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
STRATEGIES = ("priority", "last-good", "success-rate", "explore")
ORACLE = "oracle"


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of fleet, titled by what decides about the credentials that a device accepts."""

    title: str
    decides: Callable[[Device], tuple[str, ...]]
    dead: float = 0.0
    """The part of the devices that accept nothing."""
    several: bool = False
    """Whether a device accepts each credential with a chance of its own, and not exactly one of them."""


def _role(device: Device) -> str:
    return next(role for role in ROLES if role in device.tags)


SHAPES = (
    Shape("tag", lambda d: (_role(d),)),
    Shape("platform", lambda d: (d.platform,)),
    Shape("tag x platform", lambda d: (_role(d), d.platform)),
    Shape("nothing", lambda _: ()),
    Shape("tag, 10 % dead", lambda d: (_role(d),), dead=0.1),
    Shape("tag, several open", lambda d: (_role(d),), several=True),
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Devices with what they accept, and the truth that drew it: a chance for each credential."""

    targets: Sequence[Target]
    accepts: Mapping[str, Collection[str]]
    credentials: Sequence[Credential]
    chances: Mapping[str, Mapping[str, float]]
    """By device, then by credential name."""


def drawn(shape: Shape, size: int, chance: random.Random) -> Fleet:
    """A fleet of ``shape``. The operator's priorities are as good as a fixed order can be: by the share of devices."""
    names = [f"c{number}" for number in range(LOGINS)]
    devices = [
        Device(
            f"d{number}",
            "-",
            chance.choice(PLATFORMS),
            tags={"all", chance.choice(ROLES), chance.choice(REGIONS), chance.choice(TIERS)},
            id=number + 1,
        )
        for number in range(size)
    ]
    cells: dict[tuple[str, ...], dict[str, float]] = {}
    accepts: dict[str, set[str]] = {}
    chances: dict[str, dict[str, float]] = {}
    for device in devices:
        cell = shape.decides(device)
        if cell not in cells:
            weights = [chance.gammavariate(SKEW, 1.0) for _ in names]
            whole = max(weights) if shape.several else sum(weights)
            cells[cell] = {name: weight / whole for name, weight in zip(names, weights, strict=True)}
            if shape.several:
                cells[cell] = {name: 0.05 + 0.9 * share for name, share in cells[cell].items()}
        truth = chances[device.name] = cells[cell]
        if chance.random() < shape.dead:
            accepts[device.name] = set()
        elif shape.several:
            opens = {name for name in names if chance.random() < truth[name]}
            accepts[device.name] = opens or {max(truth, key=truth.__getitem__)}
        else:
            accepts[device.name] = set(chance.choices(names, [truth[name] for name in names]))
    used = {name: sum(name in opens for opens in accepts.values()) for name in names}
    credentials = [
        Credential(name, name, tags={"all"}, priority=10 * place, id=place)
        for place, name in enumerate(sorted(names, key=lambda name: -used[name]), 1)
    ]
    return Fleet([Target(device) for device in devices], accepts, credentials, chances)


class Oracle:
    """Knows by which chances the fleet was drawn, and like others what a device itself has answered."""

    name = ORACLE

    def __init__(self, fleet: Fleet) -> None:
        self._chances = fleet.chances

    async def rank(
        self, device: Device, candidates: Sequence[Credential], evidence: Evidence
    ) -> Sequence[Choice]:
        chances = self._chances[device.name]
        return arranged(
            standing(candidates, evidence),
            lambda unknown: [Choice(c, "") for c in sorted(unknown, key=lambda c: -chances[c.name])],
        )


@dataclass(slots=True)
class Tally:
    """What a run over a fleet came to."""

    devices: int = 0
    attempts: int = 0
    refusals: int = 0
    worst: int = 0
    """The longest row of refusals of one account without an acceptance in between."""
    locked: set[str] = field(default_factory=set)
    """Accounts that had :data:`THRESHOLD` refusals in a row. The simulation goes on as if they had not been locked."""

    @property
    def each(self) -> float:
        return self.attempts / self.devices


class World:
    """A fleet, what is on record of it, and the AAA that counts."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.pairs: dict[str, dict[int, Pair]] = {}
        self.steps = {credential.name: Step() for credential in fleet.credentials}

    def learned(self, now: datetime) -> Learned:
        """As a store gives it when a run begins."""
        metrics = {
            name: CredentialMetrics(success_rate=step.apply(None)) for name, step in self.steps.items()
        }
        names = {credential.id or 0: credential.name for credential in self.fleet.credentials}
        on_record = (
            (target.device, names[pair.credential_id], pair)
            for target in self.fleet.targets
            for pair in self.pairs.get(target.device.name, {}).values()
        )
        return Learned(metrics, faded(on_record, now))

    def run(self, strategy: Strategy, now: datetime, chance: random.Random) -> Tally:
        """Visit every device once; each verdict takes no time and is known to the next device."""
        knowledge = Knowledge(self.learned(now), now=lambda: now)
        in_a_row = dict.fromkeys(self.steps, 0)
        tally = Tally(len(self.fleet.targets))
        for target in chance.sample(self.fleet.targets, len(self.fleet.targets)):
            device = target.device
            pairs = self.pairs.setdefault(device.name, {})
            met = Target(device, history=tuple(pairs.values()))
            for choice in _now(strategy, device, self.fleet.credentials, knowledge.of(met)):
                if choice.not_before is not None and choice.not_before > now:
                    continue
                credential = choice.credential
                name = credential.name
                accepted = name in self.fleet.accepts[device.name]
                verdict = Verdict.ACCEPTED if accepted else Verdict.REFUSED
                tally.attempts += 1
                tally.refusals += not accepted
                in_a_row[name] = 0 if accepted else in_a_row[name] + 1
                tally.worst = max(tally.worst, in_a_row[name])
                if in_a_row[name] >= THRESHOLD:
                    tally.locked.add(name)
                key = credential.id or 0
                pairs[key] = judged(pairs.get(key), credential, verdict, now)
                self.steps[name] = self.steps[name].then(verdict)
                knowledge.learn(device, credential, verdict)
                if accepted:
                    break
        return tally


def _now(
    strategy: Strategy, device: Device, candidates: Sequence[Credential], evidence: Evidence
) -> Sequence[Choice]:
    """The order; no strategy here waits for anything, so no loop is needed."""
    ranking = strategy.rank(device, candidates, evidence)
    try:
        ranking.send(None)
    except StopIteration as done:
        choices: Sequence[Choice] = done.value
        return choices
    raise RuntimeError("a strategy waits")


def simulated(shape: int, size: int, seed: int) -> dict[str, tuple[Tally, Tally]]:
    """First and second run of every strategy over one fleet, in one order of devices."""
    fleet = drawn(SHAPES[shape], size, random.Random(f"{shape} {seed}"))
    found = {}
    for name in (*STRATEGIES, ORACLE):
        strategy: Strategy = Oracle(fleet) if name == ORACLE else strategy_named(name)
        world, order = World(fleet), random.Random(seed)
        found[name] = (
            world.run(strategy, START, order),
            world.run(strategy, START + timedelta(days=1), order),
        )
    return found


Runs = tuple[Tally, Tally]
"""The first run over a fleet, and the second."""


def found(sizes: Sizes) -> list[dict[str, list[Runs]]]:
    """For each shape, the runs of each strategy over all seeds."""
    jobs = [(shape, sizes.simulated, seed) for shape in range(len(SHAPES)) for seed in range(sizes.seeds)]
    if len(jobs) * sizes.simulated < _WORTH_PROCESSES:
        results = [simulated(*job) for job in jobs]
    else:
        workers = min(len(jobs), os.cpu_count() or 1)
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            results = list(pool.map(simulated, *zip(*jobs, strict=True)))
    by_shape: list[dict[str, list[Runs]]] = [{} for _ in SHAPES]
    for (shape, _, _), of_strategies in zip(jobs, results, strict=True):
        for name, runs in of_strategies.items():
            by_shape[shape].setdefault(name, []).append(runs)
    return by_shape


_WORTH_PROCESSES = 20_000
"""Devices, below which starting processes takes longer than the work."""


def answer(sizes: Sizes) -> Answer:
    title = (
        f"Strategies: {sizes.simulated:,} devices, {LOGINS} credentials, {sizes.seeds} fleets of each shape"
    )
    table = Answer(f"{title} (ratio: to the oracle)", "attempts per device, first run")
    for shape, of_strategies in zip(SHAPES, found(sizes), strict=True):
        oracle = [first.each for first, _ in of_strategies[ORACLE]]
        for name, runs in of_strategies.items():
            each = [first.each for first, _ in runs]
            ratios = [one / best for one, best in zip(each, oracle, strict=True)]
            table.rows.append(
                Row(f"{shape.title}: {name}", each, ratios if name != ORACLE else (), note=_more(runs))
            )
            figures = [{"first": _figures(first), "second": _figures(second)} for first, second in runs]
            table.raw.append({"shape": shape.title, "strategy": name, "seeds": figures})
    table.notes += [
        "last column: attempts per device in the second run, a day later; of the first run, refusals, the longest",
        f"row of refusals of one account, and how many of the {LOGINS} accounts had {THRESHOLD} in a row somewhere",
        "one device at a time, no lockout guard: what an order costs by itself",
    ]
    return table


def _more(runs: Sequence[Runs]) -> str:
    again = _spread([second.each for _, second in runs], ".2f")
    refusals = _spread([first.refusals for first, _ in runs], ",.0f")
    worst = _spread([first.worst for first, _ in runs], ".0f")
    locked = _spread([len(first.locked) for first, _ in runs], ".0f")
    return f"{again}; {refusals}, {worst}, {locked}"


def _spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}..{max(values):{form}})"


def _figures(tally: Tally) -> dict[str, float]:
    return {
        "attempts": tally.attempts,
        "refusals": tally.refusals,
        "worst": tally.worst,
        "locked": len(tally.locked),
    }


def measure(bench: Bench) -> Answer:
    return answer(bench.sizes)


if __name__ == "__main__":
    print(answer(QUICK if "--quick" in sys.argv[1:] else Sizes()))
