"""Addresses, host keys, fleets, the end of a lab, and the lab as a process of its own."""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from netraven.lab import Ill, Lab, LabDevice, fleet


def routers(count: int) -> list[LabDevice]:
    return [LabDevice(f"r{n}", accepts={"netops": "right"}, tags=("core", "ams1")) for n in range(count)]


def test_asyncssh_is_imported_only_when_a_lab_starts() -> None:
    code = "import sys, netraven.lab; sys.exit('asyncssh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "how", [{}, {"addressing": "address"}, {"addressing": "address", "one_listener": True}]
)
async def test_each_device_answers_at_its_own_endpoint(how: Any, dial: Any) -> None:
    async with Lab(routers(5), **how) as lab:
        assert len({lab.endpoint(f"r{n}") for n in range(5)}) == 5
        keys = set()
        for n in range(5):
            async with await dial(lab, f"r{n}", "netops", "right") as connection:
                keys.add(connection.get_owner().key)
                assert connection.get_owner().key.split()[:2] == lab.host_key(f"r{n}").split()
                assert [attempt.device for attempt in lab.log.attempts()][-1] == f"r{n}"
        assert len(keys) == 5
        if how:
            assert len({lab.endpoint(f"r{n}")[1] for n in range(5)}) == 1


async def test_one_listener_knows_nobody_at_other_addresses() -> None:
    async with Lab(routers(2), addressing="address", one_listener=True) as lab:
        port = lab.endpoint("r0")[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_a_changed_host_key_stays_changed_and_leaves_the_others_alone(dial: Any) -> None:
    async with Lab(routers(2)) as lab:
        before = lab.host_key("r0"), lab.host_key("r1")
        lab.change_host_key("r0")
        assert lab.host_key("r0") != before[0]
        assert lab.host_key("r1") == before[1]
        async with await dial(lab, "r0", "netops", "right") as connection:
            assert connection.get_owner().key.split()[:2] == lab.host_key("r0").split()
    async with Lab(routers(2)) as again:
        assert again.host_key("r0") == before[0]


async def test_shared_host_keys() -> None:
    async with Lab(routers(50), shared_host_keys=3) as lab:
        assert len({lab.host_key(f"r{n}") for n in range(50)}) == 3
        lab.change_host_key("r0")
        assert len({lab.host_key(f"r{n}") for n in range(50)}) == 4


async def test_stop_cuts_every_kind_of_connection_and_leaves_nothing(
    dial: Any, terminal: Any, eventually: Any
) -> None:
    devices = [
        *routers(2),
        LabDevice("mute", accepts={}, ill=Ill("hung_before_banner")),
        LabDevice("hung", accepts={}, ill=Ill("hung_login")),
        LabDevice("slow", accepts={"netops": "right"}, think=60),
    ]
    before = asyncio.all_tasks()
    lab = Lab(devices)
    await lab.start()
    async with terminal(lab, "r0") as shell, terminal(lab, "slow") as thinking:
        await shell.until(b"r0#")
        await thinking.until(b"slow#")
        thinking.type("show version\n")
        _, mute = await asyncio.open_connection(*lab.endpoint("mute"))
        hung = asyncio.create_task(dial(lab, "hung", "netops", "x"))
        await eventually(lambda: bool(lab.log.attempts("hung")))
        assert lab.sessions_open == 2
        await lab.stop()
        assert (lab.sessions_open, lab.peak_sessions) == (0, 2)
        assert not lab.connections
        assert not lab.mutes
        with pytest.raises((asyncssh.Error, OSError)):
            await hung
        mute.close()
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the kernel
            await asyncio.open_connection(*lab.endpoint("r0"))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    gc.collect()


async def test_a_lab_that_cannot_start_leaves_nothing_behind() -> None:
    with pytest.raises(ValueError, match="two devices are named r0"):
        Lab([*routers(1), *routers(1)])
    with pytest.raises(ValueError, match="unknown dialect 'vms'"):
        Lab([LabDevice("r0", accepts={}, dialect="vms")])
    with pytest.raises(ValueError, match="one_listener needs"):
        Lab(routers(1), one_listener=True)


async def test_the_csv_is_what_an_import_reads() -> None:
    async with Lab(routers(3)) as lab:
        rows = list(csv.DictReader(io.StringIO(lab.csv())))
        assert [row["name"] for row in rows] == ["r0", "r1", "r2"]
        assert (rows[1]["host"], int(rows[1]["port"])) == lab.endpoint("r1")
        assert {row["platform"] for row in rows} == {"cisco_iosxe"}
        assert {row["tags"] for row in rows} == {"core;ams1"}


def test_shares_are_exact_and_every_device_matches_what_opens_it() -> None:
    made = fleet(1000, seed=4, shares={"a": 0.7, "b": 0.2, "c": 0.1}, ills={Ill("refuses"): 0.05})
    assert Counter(made.opened_by.values()) == {"a": 700, "b": 200, "c": 100}
    assert Counter(device.ill.kind for device in made.devices) == {"none": 950, "refuses": 50}
    logins = {login.username: login for login in made.logins}
    matches = []
    for device in made.devices:
        opener = logins[made.opened_by[device.name]]
        assert set(opener.tags) & set(device.tags)
        assert device.accepts == {opener.username: opener.password}
        matches.append(sum(bool(set(login.tags) & set(device.tags)) for login in made.logins))
    assert Counter(matches).keys() == {2, 3}
    assert made == fleet(1000, seed=4, shares={"a": 0.7, "b": 0.2, "c": 0.1}, ills={Ill("refuses"): 0.05})
    assert made != fleet(1000, seed=5, shares={"a": 0.7, "b": 0.2, "c": 0.1}, ills={Ill("refuses"): 0.05})


def test_shares_that_do_not_divide_evenly_still_add_up() -> None:
    assert Counter(fleet(10, shares={"a": 1, "b": 1, "c": 1}).opened_by.values()).total() == 10
    assert len(fleet(1).devices) == 1
    assert fleet(0).devices == ()


async def test_a_lab_in_its_own_process(tmp_path: Path, eventually: Any) -> None:
    record, spec = tmp_path / "wire.jsonl", tmp_path / "spec.json"
    spec.write_text(
        json.dumps(
            {
                "devices": [
                    {"name": "r1", "accepts": {"netops": "right"}, "tags": ["core"]},
                    {"name": "r2", "accepts": {}, "ill": {"kind": "close_at_login"}},
                ],
                "aaa": {"threshold": 5},
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "netraven.lab",
        "--spec", str(spec), "--record", str(record), "--out", str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        assert ready["ready"] is True
        assert ready["devices"] == 2
        rows = list(csv.DictReader(io.StringIO(Path(ready["csv"]).read_text())))
        connection = await asyncssh.connect(
            rows[0]["host"], int(rows[0]["port"]), username="netops", password="right",
            known_hosts=None, config=None,
        )  # fmt: skip
        connection.abort()
        await eventually(lambda: '"disconnect"' in record.read_text())
        written = [json.loads(line) for line in record.read_text().splitlines()]
        assert [line["event"] for line in written] == ["connect", "kex", "attempt", "verdict", "disconnect"]
        assert written[3]["verdict"] == "accepted"
    finally:
        process.send_signal(signal.SIGTERM)
    last = json.loads((await process.communicate())[0])
    assert process.returncode == 0
    assert last["counts"]["accepted"] == 1
    assert last["lockouts"] == []


def test_a_bad_spec_says_why(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"devices": [{"name": "r1", "accepts": {}, "dialect": "vms"}]}))
    done = subprocess.run(
        [sys.executable, "-m", "netraven.lab", "--spec", str(spec)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "unknown dialect 'vms'" in done.stderr
