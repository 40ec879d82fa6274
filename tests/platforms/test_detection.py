"""Which platform a device is: decided from what was seen, with as few questions as possible."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from netraven.platforms.detection import MOST_COMMANDS, Ask, Seen, Undecided, decide
from netraven.platforms.model import Detection, Platform


def known(name: str, *detection: Detection) -> Platform:
    return Platform(name, detection=detection)


def version(answer: str, rank: int = 100) -> Detection:
    return Detection(command="show version", answer=re.compile(answer), rank=rank)


IOSXE = known("iosxe", version("Cisco IOS XE"))
IOS = known("ios", version("Cisco IOS", rank=110))
EOS = known("eos", version("Arista"))
JUNOS = known("junos", Detection(prompt=re.compile(r"^\S+@\S+> ?$"), banner=re.compile("JUNOS")))
VRP = known(
    "vrp", Detection(prompt=re.compile(r"^<.*>$"), command="display version", answer=re.compile("Huawei"))
)
COMWARE = known(
    "comware", Detection(prompt=re.compile(r"^<.*>$"), command="display version", answer=re.compile("H3C"))
)
ALL = (IOSXE, IOS, EOS, JUNOS, VRP, COMWARE)


def test_what_is_seen_at_once_needs_no_question() -> None:
    assert decide((JUNOS,), Seen("SSH-2.0-OpenSSH_7.5\n--- JUNOS 20.4", "me@r1>")) is JUNOS


def test_the_command_that_tells_most_is_asked_first() -> None:
    assert decide(ALL, Seen("", "r1#")) == Ask("show version")
    assert decide((VRP, COMWARE, EOS), Seen("", "<r1>")) == Ask("display version")


def test_the_lower_rank_is_meant_where_two_hold() -> None:
    assert decide(ALL, Seen("", "r1#", {"show version": "Cisco IOS XE Software"})) is IOSXE
    assert decide(ALL, Seen("", "r1#", {"show version": "Cisco IOS Software"})) is IOS


def test_a_prompt_alone_does_not_ask_a_device_that_it_does_not_fit() -> None:
    assert decide((VRP, COMWARE), Seen("", "r1#")) == Undecided()


def test_what_holds_is_enough_once_nothing_better_is_open() -> None:
    weak = known("weak", Detection(prompt=re.compile("#$"), rank=200))
    assert decide((weak, EOS), Seen("", "r1#")) == Ask("show version")
    assert decide((weak, EOS), Seen("", "r1#", {"show version": "% bad"})) is weak
    strong = known("strong", Detection(banner=re.compile("Box"), rank=10))
    assert decide((strong, EOS), Seen("Box OS", "r1#")) is strong


def test_two_that_fit_equally_are_named() -> None:
    twins = (known("b", version("Box")), known("a", version("Box")))
    assert decide(twins, Seen("", "r1#", {"show version": "Box 1"})) == Undecided(("a", "b"))


def test_a_platform_without_detections_is_never_found() -> None:
    assert decide((known("x"), known("y", Detection())), Seen("anything", "r1#")) == Undecided()


_texts = st.sampled_from(["a", "b", "c", "d", "e", "f"])
_patterns = st.none() | _texts.map(re.compile)
_detections = st.builds(
    Detection,
    banner=_patterns,
    prompt=_patterns,
    command=st.none() | _texts,
    answer=_patterns,
    rank=st.integers(1, 3),
)


@given(
    st.lists(st.lists(_detections, max_size=3), max_size=8),
    _texts,
    _texts,
    st.lists(_texts, min_size=MOST_COMMANDS + 1, max_size=MOST_COMMANDS + 1),
)
def test_no_command_is_asked_twice_and_the_questions_end(
    detections: list[list[Detection]], greeting: str, prompt: str, answers: list[str]
) -> None:
    platforms = [known(f"p{n}", *each) for n, each in enumerate(detections)]
    seen = Seen(greeting, prompt)
    for answer in answers:
        decision = decide(platforms, seen)
        if not isinstance(decision, Ask):
            break
        assert decision.command not in seen.answers
        seen = Seen(greeting, prompt, {**seen.answers, decision.command: answer})
    assert len(seen.answers) <= MOST_COMMANDS
