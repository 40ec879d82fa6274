"""Every platform that ships is collected from a device that answers as its documentation says it does."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import pytest

from netraven.errors import CommandRejected, DeviceFailure
from netraven.model import Capture
from netraven.platforms import Platform, known_platforms, load_platform
from netraven.platforms.detection import Ask, Seen, decide
from netraven.platforms.model import RUNNING, Detection, Output
from netraven.transport.session import ShellSession
from tests.platforms.recorded import FOLDER, Exchange, Pages, Recorded, RecordedShell, recorded
from tests.platforms.secret_cases import secret_case
from tests.transport.shells import Cut, each_byte, whole
from tests.virtual_time import in_virtual_time

COLLECTED = tuple(name for name in known_platforms() if load_platform(name).collects)


def test_each_has_a_dialogue_and_each_dialogue_a_platform() -> None:
    assert {file.stem for file in FOLDER.glob("*.txt")} == set(COLLECTED)


async def replayed(
    platform: Platform, said: Recorded, pages: Pages | None = None, cut: Cut = whole
) -> tuple[Sequence[Capture], RecordedShell]:
    """What the engine collects from the device of the recording."""
    shell = RecordedShell(
        said.greeting, said.opening(load_platform(platform.name)), answers(said), platform.logout, pages, cut
    )
    session = ShellSession(shell.channel, platform, command_timeout=60.0)
    try:
        return await session.capture(enable=said.enable, kinds=tuple(platform.outputs)), shell
    except DeviceFailure:
        if shell.unexpected is not None:
            raise shell.unexpected from None
        raise


def answers(said: Recorded) -> Callable[[str], Exchange | None]:
    """The recorded answers, the rejected command's among them."""

    def answer(line: str) -> Exchange | None:
        if said.rejected is not None and line == said.rejected.typed:
            return said.rejected
        return said.answer_to(line)

    return answer


@pytest.mark.parametrize("cut", [whole, each_byte], ids=["whole", "each byte"])
@pytest.mark.parametrize("name", COLLECTED)
def test_what_is_typed_and_what_is_captured(name: str, cut: Cut) -> None:
    platform, said = load_platform(name), recorded(name)

    @in_virtual_time
    async def run() -> None:
        captures, shell = await replayed(platform, said, cut=cut)
        kinds = list(platform.outputs)
        opening = [exchange.typed for exchange in said.opening(platform)]
        assert shell.typed == [*opening, *(platform.outputs[kind].command for kind in kinds)]
        texts = outputs(platform, said)
        assert [(capture.kind, capture.text) for capture in captures] == [
            (kind, texts[kind]) for kind in kinds
        ]

    run()


@pytest.mark.parametrize("name", [name for name in COLLECTED if load_platform(name).pager])
def test_a_device_that_pages_all_the_same(name: str) -> None:
    platform, said = load_platform(name), recorded(name)
    assert said.pager is not None
    pages = Pages(said.pager, platform.pager_key)

    @in_virtual_time
    async def run() -> None:
        captures, shell = await replayed(platform, said, pages)
        assert {capture.kind: capture.text for capture in captures} == outputs(platform, said)
        assert shell.turned

    run()


@pytest.mark.parametrize("name", COLLECTED)
def test_a_rejected_command_is_known_as_such(name: str) -> None:
    said = recorded(name)
    assert said.rejected is not None, "a dialogue holds one rejected command"
    wrong = {RUNNING: Output(RUNNING, said.rejected.typed)}
    platform = dataclasses.replace(load_platform(name), outputs=wrong)

    @in_virtual_time
    async def run() -> None:
        with pytest.raises(CommandRejected):
            await replayed(platform, said)

    run()


@pytest.mark.parametrize("name", COLLECTED)
def test_every_output_is_recorded_in_its_order(name: str) -> None:
    platform, said = load_platform(name), recorded(name)
    opening = said.opening(platform)
    commands = list(dict.fromkeys(output.command for output in platform.outputs.values()))
    assert [exchange.typed for exchange in said.exchanges[len(opening) :]] == commands


def outputs(platform: Platform, said: Recorded) -> dict[str, str]:
    """The recorded outputs by kind."""
    answers = {kind: said.answer_to(output.command) for kind, output in platform.outputs.items()}
    return {kind: answer.output for kind, answer in answers.items() if answer is not None}


@pytest.mark.parametrize("name", COLLECTED)
def test_volatile_lines_are_found(name: str) -> None:
    platform = load_platform(name)
    text = "".join(outputs(platform, recorded(name)).values())
    unused = [pattern.pattern for pattern in platform.volatile if not pattern.search(text)]
    assert not unused
    assert not [pattern.pattern for pattern in platform.volatile if pattern.search("")], (
        "matches nothing at all"
    )


@pytest.mark.parametrize("name", COLLECTED)
def test_secrets_are_found_and_nothing_else(name: str) -> None:
    platform, said = load_platform(name), recorded(name)
    text = "".join(outputs(platform, said).values())
    found = {match["secret"] for pattern in platform.secrets for match in pattern.finditer(text)}
    assert found == said.secrets
    case = secret_case(name).text
    unused = [p.pattern for p in platform.secrets if not p.search(text) and not p.search(case)]
    assert not unused


@pytest.mark.parametrize("name", COLLECTED)
def test_its_pager_is_known(name: str) -> None:
    platform, said = load_platform(name), recorded(name)
    assert (platform.pager is None) == (said.pager is None)
    if platform.pager is not None and said.pager is not None:
        assert platform.pager.search(said.pager)
        assert not platform.pager.search(said.first_prompt)


@pytest.mark.parametrize("name", COLLECTED)
def test_facts_are_told(name: str) -> None:
    platform, said = load_platform(name), recorded(name)
    texts = outputs(platform, said)
    found = {fact.name: fact.pattern.search(texts[fact.kind]) for fact in platform.facts}
    assert {fact: match and match[1] for fact, match in found.items()} == said.facts


@pytest.mark.parametrize("name", COLLECTED)
def test_it_is_detected_and_no_other_before_it(name: str) -> None:
    said = recorded(name)
    ranks = {
        other: min(ranks)
        for other in COLLECTED
        if (ranks := [d.rank for d in load_platform(other).detection if fits(d, said)])
    }
    assert name in ranks
    assert [other for other, rank in ranks.items() if other != name and rank <= ranks[name]] == []


def fits(detection: Detection, said: Recorded) -> bool:
    """Whether everything that ``detection`` says is so of this device; an answer that is not recorded does not fit."""
    exchange = said.answer_to(detection.command) if detection.command else None
    answer = exchange.answer.replace("\r", "") if exchange else None
    asked: list[tuple[re.Pattern[str] | None, str | None]] = [
        (detection.banner, f"{said.banner}\n{said.greeting}".replace("\r", "")),
        (detection.prompt, said.first_prompt),
        (detection.answer, answer),
    ]
    return all(text is not None and pattern.search(text) for pattern, text in asked if pattern is not None)


@pytest.mark.parametrize("name", COLLECTED)
def test_few_commands_find_it_out(name: str) -> None:
    said, candidates = recorded(name), [load_platform(other) for other in COLLECTED]
    assert said.rejected is not None
    asked: dict[str, str] = {}
    while True:
        greeting = f"{said.banner}\n{said.greeting}".replace("\r", "")
        decided = decide(candidates, Seen(greeting, said.first_prompt, asked))
        if not isinstance(decided, Ask):
            break
        exchange = said.answer_to(decided.command) or said.rejected
        asked[decided.command] = exchange.answer.replace("\r", "")
    assert decided == load_platform(name), f"asked: {list(asked)}"
