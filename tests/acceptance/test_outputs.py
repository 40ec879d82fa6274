"""Several outputs of a device, each with versions of its own; facts; platforms that are found out."""

from __future__ import annotations

import pytest

from netraven.lab import Lab, LabDevice
from netraven.model import PlatformFound
from tests.acceptance.at_the_prompt import Operator


def fleet() -> list[LabDevice]:
    dialects = {"ios": "cisco_iosxe", "eos": "arista_eos", "junos": "juniper_junos"}
    return [
        LabDevice(name, accepts={"netops": "word"}, dialect=dialect, tags=("fleet",), config_size=3000)
        for name, dialect in dialects.items()
    ]


async def stocked(operator: Operator, lab: Lab, platform: str | None = None) -> None:
    rows = [row.split(",") for row in lab.csv().splitlines()]
    if platform is not None:
        column = rows[0].index("platform")
        for row in rows[1:]:
            row[column] = platform
    await operator.devices("\n".join(",".join(row) for row in rows) + "\n")
    await operator.password("netops", "netops", "fleet", "word")


async def test_further_outputs_are_collected_where_they_are_asked_for(operator: Operator) -> None:
    async with Lab(fleet()) as lab:
        await stocked(operator, lab)
        operator.settings('[devices.ios]\noutputs = ["running", "version"]')
        assert {o["status"] for o in (await operator.collect()).values()} == {"collected"}
        version = await operator.netraven("config", "show", "ios", "--kind", "version")
        assert (version.code, "Version" in version.out) == (0, True), version.err
        assert "hostname" in await operator.text("ios")
        missing = await operator.netraven("config", "show", "eos", "--kind", "version")
        assert missing.code == 2
        assert "only running" in missing.err
        shown = await operator.netraven("device", "show", "ios", "--json")
        assert shown.json["facts"]["version"]
        outcomes = await operator.collect("--output", "version")
        assert {o["status"] for o in outcomes.values()} == {"collected"}
        assert (await operator.netraven("config", "show", "eos", "--kind", "version")).code == 0


@pytest.mark.parametrize("way", ["option", "settings"])
async def test_a_kind_that_no_platform_has_is_refused_before_anything_is_done(
    operator: Operator, way: str
) -> None:
    async with Lab(fleet()) as lab:
        await stocked(operator, lab)
        words = ("--output", "vershun") if way == "option" else ()
        if way == "settings":
            operator.settings('[tags.fleet]\noutputs = ["vershun"]')
        ended = await operator.netraven("collect", *words)
        assert ended.code == 2
        assert "no platform has an output of the kind 'vershun'. Known are: " in ended.err
        assert ("tags.fleet.outputs: " in ended.err) is (way == "settings")
        assert not lab.log.attempts()


async def test_a_further_output_that_fails_loses_nothing(operator: Operator) -> None:
    async with Lab(fleet()[:1]) as lab:
        await stocked(operator, lab)
        outcome = (await operator.collect("--output", "running", "--output", "inventory"))["ios"]
        assert (outcome["status"], outcome["reason"]) == ("failed", "command_rejected")
        assert "show inventory" in outcome["detail"]
        assert "hostname" in await operator.text("ios"), "what was complete is kept"


async def test_auto_finds_each_platform_once_and_remembers_it(operator: Operator) -> None:
    async with Lab(fleet()) as lab:
        await stocked(operator, lab, "auto")
        for _ in range(2):
            outcomes = await operator.collect()
            assert {o["status"] for o in outcomes.values()} == {"collected"}, outcomes
        for device in lab.devices:
            shown = (await operator.netraven("device", "show", device.name, "--json")).json
            assert (shown["platform"], shown["detected_platform"]) == ("auto", device.dialect)
            commands = lab.log.commands(device.name)
            assert sum("version" in command for command in commands) <= 1, "the second run asks nothing"


async def test_a_platform_that_does_not_fit_any_more_is_looked_for_again(operator: Operator) -> None:
    """As after a device was replaced by one of another kind."""
    async with Lab(fleet()[:1]) as lab:
        await stocked(operator, lab, "auto")
        operator.settings("[tags.fleet]\ncommand_timeout = 3")
        async with operator.installation.open() as raven:
            device = (await raven.store.inventory.get("ios")).device
            await raven.store.commit([PlatformFound(device, "juniper_junos")])
        first = (await operator.collect())["ios"]
        assert (first["status"], first["attempts"]) == ("failed", 1), first
        second = (await operator.collect())["ios"]
        assert second["status"] == "collected", second
        shown = (await operator.netraven("device", "show", "ios", "--json")).json
        assert shown["detected_platform"] == "cisco_iosxe"
