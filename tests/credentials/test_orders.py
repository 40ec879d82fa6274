"""In which order each strategy offers credentials, and what it says for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.credentials.age import ago
from netraven.credentials.evidence import Knowledge, Learned, judged
from netraven.credentials.strategy import strategy_named
from netraven.model import Choice, Credential, CredentialMetrics, Device, Pair, Target, Verdict

NOW = datetime(2026, 11, 24, 3, 10, tzinfo=UTC)
DEVICE = Device("r1", "192.0.2.1", "cisco_iosxe", tags={"branch", "emea"})
NAMES = ("priority", "last-good", "success-rate", "explore")
ACCEPTED, REFUSED = Verdict.ACCEPTED, Verdict.REFUSED
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def credential(name: str, priority: int = 100, version: int = 1) -> Credential:
    return Credential(name, name, priority=priority, secret_version=version, id=1 + ord(name[0]))


A, B, C = credential("a", 1), credential("b", 2), credential("c", 3)


def history(*verdicts: tuple[Credential, Verdict, timedelta]) -> tuple[Pair, ...]:
    """What a device has on record after ``verdicts``, told by how long ago they were, oldest first."""
    pairs: dict[tuple[str, int], Pair] = {}
    for about, verdict, age in verdicts:
        pairs[about.key] = judged(pairs.get(about.key), about, verdict, NOW - age)
    return tuple(pairs.values())


def ranked(
    name: str,
    candidates: Sequence[Credential],
    pairs: Sequence[Pair] = (),
    knowledge: Knowledge | None = None,
    **how: float,
) -> list[Choice]:
    knowledge = knowledge or Knowledge(now=lambda: NOW)
    found = strategy_named(name, **how).rank(
        DEVICE, candidates, knowledge.of(Target(DEVICE, (), tuple(pairs)))
    )
    return list(asyncio.run(_awaited(found)))


async def _awaited(found: object) -> Sequence[Choice]:
    choices: Sequence[Choice] = await found  # type: ignore[misc]  # a strategy's coroutine
    return choices


def names(choices: Sequence[Choice]) -> str:
    return "".join(choice.credential.name for choice in choices)


def taught(*lessons: tuple[Credential, Verdict, int], device: Device = DEVICE) -> Knowledge:
    """A run's memory after so many devices like ``device`` answered."""
    knowledge = Knowledge(now=lambda: NOW)
    for about, verdict, devices in lessons:
        for _ in range(devices):
            knowledge.learn(device, about, verdict)
    return knowledge


# ---- what holds for every strategy

ages = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=90))
credentials = st.lists(
    st.builds(credential, st.sampled_from("abcdef"), st.integers(-2, 2), st.integers(1, 3)),
    unique_by=lambda c: c.key,
    max_size=8,
)
verdicts = st.sampled_from([ACCEPTED, REFUSED])


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Credential], tuple[Pair, ...], Knowledge]:
    """Candidates, what the device has answered to some of them, and what others have."""
    held = draw(credentials)
    told = [(c, draw(verdicts), draw(ages)) for c in held for _ in range(draw(st.integers(0, 2)))]
    told.sort(key=lambda one: -one[2])
    knowledge = Knowledge(
        Learned({c.name: CredentialMetrics(draw(st.none() | st.floats(0, 1))) for c in held}), now=lambda: NOW
    )
    others = [replace(DEVICE, tags={"branch"}), replace(DEVICE, platform="arista_eos"), DEVICE]
    for candidate in held:
        for _ in range(draw(st.integers(0, 3))):
            device, verdict = draw(st.sampled_from(others)), draw(verdicts)
            for _ in range(draw(st.integers(1, 30))):
                knowledge.learn(device, candidate, verdict)
    return held, history(*told), knowledge


@pytest.mark.parametrize("name", NAMES)
@given(situations(), st.randoms())
def test_every_candidate_once_and_the_same_whatever_order_they_come_in(
    name: str, situation: tuple[list[Credential], tuple[Pair, ...], Knowledge], chance: random.Random
) -> None:
    held, pairs, knowledge = situation
    order = ranked(name, held, pairs, knowledge)
    assert sorted(c.credential.key for c in order) == sorted(c.key for c in held)
    assert all(choice.reason and "\n" not in choice.reason for choice in order)
    shuffled, shuffled_pairs = list(held), list(pairs)
    chance.shuffle(shuffled)
    chance.shuffle(shuffled_pairs)
    assert ranked(name, shuffled, shuffled_pairs, knowledge) == order


@pytest.mark.parametrize("name", ["last-good", "success-rate", "explore"])
@given(situations())
def test_what_the_device_refused_goes_last_and_only_that_waits(
    name: str, situation: tuple[list[Credential], tuple[Pair, ...], Knowledge]
) -> None:
    held, pairs, knowledge = situation
    refused = {(p.credential_id, p.secret_version) for p in pairs if not p.proven}
    order = ranked(name, held, pairs, knowledge)
    last = [(c.credential.id, c.credential.secret_version) in refused for c in order]
    assert last == sorted(last)
    assert all(
        c.not_before is None or (late and c.not_before > NOW) for c, late in zip(order, last, strict=True)
    )


@pytest.mark.parametrize("name", ["last-good", "explore"])
@given(situations())
def test_what_opened_the_device_goes_first_the_latest_before_others(
    name: str, situation: tuple[list[Credential], tuple[Pair, ...], Knowledge]
) -> None:
    held, pairs, knowledge = situation
    held = [replace(candidate, secret_version=1) for candidate in one_version_each(held)]
    opened = {(p.credential_id, p.secret_version): p.last_verdict_at for p in pairs if p.proven}
    order = ranked(name, held, pairs, knowledge)
    when = [opened.get((c.credential.id or 0, c.credential.secret_version)) for c in order]
    proven = [at for at in when if at is not None]
    assert when == [*sorted(proven, reverse=True), *[None] * (len(when) - len(proven))]


def one_version_each(held: Sequence[Credential]) -> list[Credential]:
    return list({candidate.name: candidate for candidate in held}.values())


@pytest.mark.parametrize("name", NAMES)
@given(credentials)
def test_where_nothing_is_known_the_operators_priorities_decide(name: str, held: list[Credential]) -> None:
    held = one_version_each(held)
    order = [choice.credential for choice in ranked(name, held)]
    assert order == sorted(held, key=lambda c: (c.priority, c.name))


@pytest.mark.parametrize("name", ["last-good", "success-rate", "explore"])
@given(credentials)
def test_a_newer_secret_goes_before_an_older_one_of_its_name(name: str, held: list[Credential]) -> None:
    order = [c.credential for c in ranked(name, held)]
    for number, candidate in enumerate(order):
        assert not any(
            later.name == candidate.name and later.secret_version > candidate.secret_version
            for later in order[number:]
        )


# ---- what each says


def test_priority_says_the_priority_and_asks_nothing_else() -> None:
    choices = ranked("priority", [B, A], history((A, REFUSED, HOUR), (B, ACCEPTED, HOUR)))
    assert choices == [Choice(A, "priority 1"), Choice(B, "priority 2")]


@pytest.mark.parametrize("name", ["last-good", "explore"])
def test_what_opened_this_device_last_goes_first(name: str) -> None:
    pairs = history((B, ACCEPTED, 2 * DAY), (C, ACCEPTED, 3 * HOUR))
    assert [(c.credential.name, c.reason) for c in ranked(name, [A, B, C], pairs)] == [
        ("c", "opened this device 3 h ago"),
        ("b", "opened this device 2 d ago"),
        ("a", "priority 1"),
    ]


@pytest.mark.parametrize("name", ["last-good", "success-rate", "explore"])
def test_what_this_device_refused_waits_longer_each_time(name: str) -> None:
    for refusals, wait in [(1, 3), (2, 6), (3, 12), (4, 24), (5, 30), (50, 30)]:
        pairs = history(*[(A, REFUSED, 2 * DAY)] * refusals)
        *_, last = ranked(name, [A, B], pairs)
        assert last.credential == A
        assert last.reason == "refused here with this secret version 2 d ago"
        assert last.not_before == NOW + (wait - 2) * DAY


@pytest.mark.parametrize(
    ("backoff", "wait"),
    [(0.0, None), (3600.0, HOUR), (86400.0 * 45, 45 * DAY), (1e-9, None)],
)
def test_the_backoff_is_a_setting(backoff: float, wait: timedelta | None) -> None:
    (only,) = ranked("last-good", [A], history((A, REFUSED, timedelta(0))), refused_backoff=backoff)
    assert only.not_before == (None if wait is None else NOW + wait)


def test_a_backoff_that_is_over_is_not_said() -> None:
    (only,) = ranked("last-good", [A], history((A, REFUSED, 3 * DAY)))
    assert only == Choice(A, "refused here with this secret version 3 d ago")


def test_a_new_secret_of_a_refused_credential_is_unknown() -> None:
    changed = replace(A, secret_version=2)
    assert ranked("last-good", [changed, B], history((A, REFUSED, HOUR)))[0] == Choice(changed, "priority 1")


@pytest.mark.parametrize("name", ["last-good", "success-rate", "explore"])
def test_a_refusal_from_before_the_device_was_changed_does_not_block(name: str) -> None:
    """c was refused while b opened the device; now b is refused too, so c may be what it wants today."""
    pairs = history((C, REFUSED, 20 * HOUR), (B, ACCEPTED, 12 * HOUR), (B, REFUSED, HOUR))
    c, b = ranked(name, [B, C], pairs)
    assert (c.credential, c.reason, c.not_before) == (
        C,
        "refused here 20 h ago, before the device was changed",
        None,
    )
    assert (b.credential, b.not_before) == (B, NOW - HOUR + 3 * DAY)
    pairs = history((C, REFUSED, 20 * HOUR), (B, ACCEPTED, 12 * HOUR), (B, REFUSED, HOUR), (C, REFUSED, HOUR))
    assert all(choice.not_before for choice in ranked(name, [B, C], pairs)), "and then it is known again"
    pairs = history((C, REFUSED, 20 * HOUR), (B, ACCEPTED, 12 * HOUR))
    assert ranked(name, [B, C], pairs)[1].not_before is not None, "b still opens it: nothing was changed"


@pytest.mark.parametrize("name", ["last-good", "explore"])
def test_after_a_rotation_the_new_secret_goes_first_until_the_device_has_refused_it(name: str) -> None:
    old, new = credential("a", 9, 1), credential("a", 9, 2)
    accepted = history((old, ACCEPTED, 3 * HOUR))
    assert [(c.credential, c.reason) for c in ranked(name, [B, old, new], accepted)] == [
        (new, "new secret; version 1 opened this device 3 h ago"),
        (old, "opened this device 3 h ago"),
        (B, "priority 2"),
    ]
    after = history((old, ACCEPTED, 3 * HOUR), (new, REFUSED, HOUR), (old, ACCEPTED, HOUR))
    order = ranked(name, [new, old, B], after)
    assert [c.credential for c in order] == [old, B, new]
    assert order[-1].not_before == NOW - HOUR + 3 * DAY


@pytest.mark.parametrize("name", ["last-good", "explore"])
def test_a_new_secret_takes_the_place_of_the_one_before_without_a_fallback_too(name: str) -> None:
    old, new = credential("b", 2, 2), credential("b", 2, 4)
    order = ranked(name, [A, new], history((old, ACCEPTED, 3 * HOUR)))
    assert order[0] == Choice(new, "new secret; version 2 opened this device 3 h ago")
    assert ranked(name, [A, new], history((old, REFUSED, 3 * HOUR)))[1].not_before is None
    twice = history((old, ACCEPTED, 3 * HOUR), (credential("b", 2, 3), REFUSED, 2 * HOUR))
    assert ranked(name, [A, new], twice)[1].credential == new, "the version between was wrong"
    refused = history((old, ACCEPTED, 3 * HOUR), (new, REFUSED, HOUR))
    assert ranked(name, [A, new], refused)[1].not_before is not None


@pytest.mark.parametrize("name", ["last-good", "explore"])
def test_a_new_secret_begins_with_the_figures_of_the_one_before(name: str) -> None:
    """b opened seven devices of ten. Whoever changes its secret does not mean that a shall be offered first now."""
    old, new = B, replace(B, secret_version=2)
    before: list[tuple[Credential, Verdict, int]] = [
        (old, ACCEPTED, 700),
        (old, REFUSED, 300),
        (A, ACCEPTED, 300),
    ]
    assert names(ranked(name, [A, new], (), taught(*before))) == "ba"
    assert names(ranked(name, [A, new], (), taught(*before, (new, ACCEPTED, 5)))) == "ba"
    assert names(ranked(name, [A, new], (), taught(*before, (new, REFUSED, 4)))) == "ab", "it is wrong"
    assert names(ranked(name, [A, new], (), taught(*before, (new, REFUSED, 4), (new, ACCEPTED, 9)))) == "ba"


@pytest.mark.parametrize("name", ["last-good", "explore"])
def test_what_opens_siblings_goes_before_a_better_priority(name: str) -> None:
    knowledge = taught((A, REFUSED, 400), (B, ACCEPTED, 400))
    elsewhere = replace(DEVICE, tags={"core"}, platform="arista_eos")
    for _ in range(600):
        knowledge.learn(elsewhere, A, ACCEPTED)
    first, second = ranked(name, [A, B], (), knowledge)
    assert (first.credential, second.credential) == (B, A)
    assert "100 % on 400 devices" in first.reason
    assert "0 % on 400 devices" in second.reason


def test_last_good_names_the_tag_that_tells_most() -> None:
    knowledge = taught((A, ACCEPTED, 12), (B, ACCEPTED, 400), device=replace(DEVICE, platform="cisco_nxos"))
    for _ in range(600):
        knowledge.learn(replace(DEVICE, tags={"emea"}), A, ACCEPTED)
    assert ranked("last-good", [A, B], (), knowledge)[0] == Choice(B, "97 % on 412 devices tagged branch")


@pytest.mark.parametrize("verdict", [ACCEPTED, REFUSED])
def test_one_device_moves_no_place_in_last_good(verdict: Verdict) -> None:
    for about in (A, B, C):
        assert names(ranked("last-good", [A, B, C], (), taught((about, verdict, 1)))) == "abc"


def test_last_good_leaves_near_equals_to_the_operator() -> None:
    knowledge = taught((A, ACCEPTED, 49), (A, REFUSED, 51), (B, ACCEPTED, 51))
    assert names(ranked("last-good", [A, B], (), knowledge)) == "ab"
    assert names(ranked("last-good", [replace(A, priority=5), B], (), knowledge)) == "ba"


@pytest.mark.parametrize("name", ["last-good", "explore"])
def test_second_choices_are_not_flattered_by_what_the_first_left_over(name: str) -> None:
    """a opens six devices of ten. b was offered to the other four only, and opened all of them."""
    knowledge = taught((A, ACCEPTED, 600), (A, REFUSED, 400), (B, ACCEPTED, 400))
    a, b = ranked(name, [replace(A, priority=9), B], (), knowledge)
    assert (a.credential.name, b.credential.name) == ("a", "b")
    assert "60 % on 1000 devices" in a.reason
    assert "40 % on 1000 devices" in b.reason


def test_explore_puts_tag_and_platform_together() -> None:
    """Neither the tag nor the platform tells anything by itself; together they tell everything."""
    knowledge = Knowledge(now=lambda: NOW)
    for tag, platform, opens in [
        ("branch", "cisco_iosxe", B),
        ("branch", "arista_eos", A),
        ("core", "cisco_iosxe", A),
        ("core", "arista_eos", B),
    ]:
        for _ in range(50):
            knowledge.learn(Device("x", "-", platform, tags={tag}), opens, ACCEPTED)
    assert names(ranked("last-good", [A, B], (), knowledge)) == "ab"
    first, _ = ranked("explore", [A, B], (), knowledge)
    assert first.credential == B
    assert first.reason.endswith("100 % on 50 devices tagged branch of platform cisco_iosxe")


def test_explore_does_not_follow_chance() -> None:
    """Two of three is no news where the fleet says four of ten; eighteen of twenty is."""
    for opened, of, order in [(2, 3, "ab"), (18, 20, "ba")]:
        sibling = Device("x", "-", "arista_eos", tags={"branch"})
        knowledge = taught((B, ACCEPTED, opened), (A, ACCEPTED, of - opened), device=sibling)
        for number in range(1000):
            knowledge.learn(
                Device("x", "-", "cisco_nxos", tags={"core"}), B if number % 10 < 4 else A, ACCEPTED
            )
        assert names(ranked("explore", [A, B], (), knowledge)) == order


def test_success_rate_goes_by_the_rate_alone() -> None:
    knowledge = Knowledge(
        Learned({"a": CredentialMetrics(0.2), "b": CredentialMetrics(0.91)}), now=lambda: NOW
    )
    pairs = history((A, ACCEPTED, HOUR))
    assert [(c.credential.name, c.reason) for c in ranked("success-rate", [A, B, C], pairs, knowledge)] == [
        ("b", "success rate 91 %; priority 2"),
        ("c", "no verdict yet, counts as 50 %; priority 3"),
        ("a", "success rate 20 %; priority 1"),
    ]


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 min ago"),
        (timedelta(minutes=59, seconds=59), "59 min ago"),
        (HOUR, "1 h ago"),
        (47 * HOUR, "47 h ago"),
        (2 * DAY, "2 d ago"),
        (400 * DAY, "400 d ago"),
    ],
)
def test_ages_in_words(age: timedelta, said: str) -> None:
    assert ago(NOW - age, NOW) == said
