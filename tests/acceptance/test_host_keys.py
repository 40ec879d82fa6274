"""The host key comes first: a server that is not the device it claims to be is sent no secret."""

from __future__ import annotations

import base64

from netraven import RunStatus, Status
from netraven.lab import Lab, LabDevice
from netraven.model import HostKey, Selector
from tests.acceptance.installation import PATIENT, Installation, credential
from tests.acceptance.processes import Command


async def test_a_changed_host_key_gets_no_secret(installation: Installation) -> None:
    devices = [LabDevice(name, accepts={"netops": "word"}) for name in ("r1", "r2")]
    async with Lab(devices) as lab:
        await installation.stock(lab, [credential("netops", "word"), credential("other", "more")])
        async with installation.open() as raven:
            assert (await raven.collect()).run.status is RunStatus.COMPLETE
            metrics = await installation.metrics()
            lab.log.clear()
            lab.change_host_key("r2")
            report = await raven.collect()
        assert [a.device for a in lab.log.attempts()] == ["r1"]
        # a connection there was; it ended at the key, before the device could ask for anything
        kinds = [event.kind for event in lab.log.events if event.device == "r2"]
        assert "connect" in kinds
        assert not {"attempt", "session", "command"} & set(kinds)

    assert report.run.status is RunStatus.PARTIAL
    assert report.failed_by_class == {"host_key_changed": 1}
    outcome = next(o for o in report.outcomes if o.device.name == "r2")
    assert (outcome.status, outcome.attempts) == (Status.FAILED, 0)
    assert outcome.detail is not None
    assert "SHA256:" in outcome.detail
    assert "nothing was sent" in outcome.detail
    assert (await installation.metrics())["other"] == metrics["other"]
    assert len(await installation.attempts(report.run.id)) == 1
    # and it stays so: the new key was not remembered in passing, it waits for a person
    assert [state for _, state in await _states(installation)] == ["trusted", "trusted", "refused"]


async def test_the_report_and_the_exit_code_tell_of_a_changed_host_key(
    installation: Installation, command: Command
) -> None:
    async with Lab([LabDevice("r1", accepts={"netops": "word"})]) as lab:
        await installation.stock(lab, [credential("netops", "word")])
        assert (await command("collect", config=installation.file)).code == 0
        lab.change_host_key("r1")
        for _ in range(2):  # it is not learned from being seen once more
            ended = await command("collect", config=installation.file)
            assert ended.code == 1
            assert "HOST KEY CHANGED" in ended.out
            assert "hostkey accept r1 --fingerprint SHA256:" in ended.out
        ended = await command("collect", "--json", config=installation.file)
        assert ended.code == 1
        assert ended.json["devices"][0]["reason"] == "host_key_changed"
        assert len(lab.log.attempts()) == 1
        # a person decides
        assert (await command("device", "forget-host-key", "r1", config=installation.file)).code == 0
        assert (await command("collect", config=installation.file)).code == 0
        assert len(lab.log.attempts()) == 2


async def test_an_unknown_host_key_gets_no_secret_where_the_policy_is_strict(
    installation: Installation,
) -> None:
    async with Lab([LabDevice("r1", accepts={"netops": "word"})]) as lab:
        await installation.stock(lab, [credential("netops", "word")])
        installation.configure(PATIENT, host_keys="strict")
        async with installation.open() as raven:
            (outcome,) = (await raven.collect()).outcomes
        assert lab.log.attempts() == []
    assert outcome.reason == "host_key_unknown"
    assert await _states(installation) == [("r1", "refused")]


async def _states(installation: Installation) -> list[tuple[str, str]]:
    async with installation.open() as raven:
        keys = raven.store.host_keys.list(Selector())
        return sorted(
            [(r.device, r.state) async for r in keys], key=lambda pair: (pair[1] == "refused", pair)
        )


async def test_the_key_on_record_is_the_one_that_the_device_shows(installation: Installation) -> None:
    async with Lab([LabDevice("r1", accepts={"netops": "word"})]) as lab:
        await installation.stock(lab, [credential("netops", "word")])
        async with installation.open() as raven:
            await raven.collect()
            target = await raven.store.inventory.get("r1")
        algorithm, blob = lab.host_key("r1").split()
    assert target.host_keys == (HostKey(algorithm, base64.b64decode(blob)),)
