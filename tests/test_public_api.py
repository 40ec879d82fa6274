"""What an embedding program sees."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import netraven
from netraven import CollectSettings, Credential, Device, NetRaven, NetRavenError, Outcome, RunStatus, Status
from netraven.credentials.sealing import write_new_key_file
from netraven.errors import InputError
from netraven.lab import Ill, Lab, LabDevice
from netraven.model import Counts, Secret
from netraven.storage.memory import MemoryStore
from netraven.storage.migrate import create_and_upgrade
from netraven.testing import FakeDevice, FakeTransport

TOP = Path(netraven.__file__).parent.parent
EDGE = frozenset({"edge"})
SVC = Credential("tacacs", "svc", "right", EDGE)


def python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments, "-c", textwrap.dedent(program)],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- importing


def test_importing_costs_nothing_and_sets_nothing_up() -> None:
    python(
        """
        import logging, sys
        before = set(sys.modules)
        import netraven
        from netraven import model, errors, ports, plain, config
        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        foreign = {n for n in new if n not in sys.stdlib_module_names and n != "netraven"}
        assert not foreign, foreign
        assert logging.getLogger().handlers == []
        assert logging.getLogger("netraven").handlers == []
        """
    )


def test_the_whole_of_it_sets_up_no_logging_and_no_loop() -> None:
    python(
        """
        import asyncio, logging
        for name in __import__("netraven").__all__:
            getattr(__import__("netraven"), name)
        import netraven.app, netraven.storage.store, netraven.transport.ssh, netraven.testing
        assert logging.getLogger().handlers == []
        assert logging.getLogger().level == logging.WARNING
        assert all(not logger.handlers for name, logger in logging.root.manager.loggerDict.items()
                   if name.startswith("netraven") and isinstance(logger, logging.Logger))
        """,
        "-W",
        "error",
    )


@pytest.mark.parametrize("name", netraven.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(netraven, name).__name__ == name


def test_no_public_name_is_hidden_and_others_are_told_as_usual() -> None:
    assert set(netraven._HOME) == set(netraven.__all__)
    assert list(netraven.__all__) == sorted(netraven.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Raven'"):
        _ = netraven.Raven


@pytest.mark.slow
def test_a_program_of_a_user_passes_strict_type_checks(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio

            from netraven import CollectSettings, Credential, Device, NetRaven, NetRavenError
            from netraven import Outcome, RunStatus, Status
            from netraven.testing import FakeDevice, FakeTransport


            async def main() -> int:
                devices = [Device("r1", "192.0.2.1", "cisco_iosxe", tags=frozenset({"edge"}))]
                credentials = [Credential("tacacs", "svc", password="x", tags=frozenset({"edge"}))]
                fake = FakeTransport({"r1": FakeDevice({"svc": "x"})})
                settings = CollectSettings(concurrency=5)
                async with NetRaven.in_memory(devices, credentials, settings=settings, transport=fake) as raven:
                    async for outcome in raven.stream(tags={"edge"}):
                        one: Outcome = outcome
                        print(one.device.name, one.status is Status.COLLECTED, one.detail)
                try:
                    async with NetRaven.open("netraven.toml") as raven:
                        report = await raven.collect(tags={"edge"}, names=["r1"])
                        print(report.failed_by_class, report.run.counts.collected)
                        return 0 if report.run.status is RunStatus.COMPLETE else 1
                except NetRavenError as error:
                    print(error)
                return 2


            raise SystemExit(asyncio.run(main()))
            """
        )
    )
    cache = pytestconfig.cache.mkdir("mypy-of-users")
    arguments = ["--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={cache}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments, str(program)],
        cwd=tmp_path,
        env={"MYPYPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- embedding without a database


def router(name: str = "r1", **fields: Any) -> LabDevice:
    usual: dict[str, Any] = {"accepts": {"svc": "right"}, "tags": ("edge",), "config": f"hostname {name}\n"}
    return LabDevice(name, **usual | fields)


def memory_of(raven: NetRaven) -> MemoryStore:
    store: Any = raven.store
    assert isinstance(store, MemoryStore)
    return store


def devices_of(lab: Lab) -> list[Device]:
    return [
        Device(d.name, *lab.endpoint(d.name)[:1], d.dialect, lab.endpoint(d.name)[1], frozenset(d.tags))
        for d in lab.devices
    ]


async def test_the_example_without_a_database() -> None:
    async with Lab(
        [router("r1"), router("r2", dialect="arista_eos"), router("r3", ill=Ill("refuses"))]
    ) as lab:
        async with NetRaven.in_memory(devices=devices_of(lab), credentials=[SVC]) as raven:
            seen: dict[str, Outcome] = {}
            async for outcome in raven.stream():
                seen[outcome.device.name] = outcome
            report = await raven.collect(tags={"edge"})
        assert {name: o.status for name, o in seen.items()} == {
            "r1": Status.COLLECTED,
            "r2": Status.COLLECTED,
            "r3": Status.FAILED,
        }
        assert report.run.status is RunStatus.PARTIAL
        assert report.run.counts == Counts(3, 2, 0, 1, 2)
        assert report.failed_by_class == {"refused_before": 1}, "it is not asked again so soon"


async def test_what_is_asked_for_is_checked_before_anything_is_done() -> None:
    transport = FakeTransport({"r1": FakeDevice({"svc": "right"})})
    device = Device("r1", "192.0.2.1", "cisco_iosxe", tags=EDGE)
    async with NetRaven.in_memory([device], [SVC], transport=transport) as raven:
        with pytest.raises(InputError, match="'egde'"):
            await raven.collect(tags={"edge", "egde"})
        with pytest.raises(InputError, match="'r2'"):
            await raven.collect(names={"r1", "r2"})
        with pytest.raises(InputError, match="did you mean 'priority'"):
            await raven.collect(strategy="priorty")
        with pytest.raises(InputError, match="'r2'"):
            await anext(raven.stream(names={"r2"}))
    assert transport.attempts == []
    assert issubclass(InputError, NetRavenError)


async def test_nothing_to_do_is_said() -> None:
    device = Device("r1", "192.0.2.1", "cisco_iosxe", tags=EDGE)
    async with NetRaven.in_memory([], [SVC]) as raven:
        assert (await raven.collect()).run.status is RunStatus.NO_DEVICES
    async with NetRaven.in_memory([device], []) as raven:
        assert (await raven.collect()).run.status is RunStatus.NO_CREDENTIALS


async def test_leaving_a_stream_early_ends_the_run() -> None:
    devices = [router(f"r{n}", think=0.0 if n == 0 else 30.0) for n in range(6)]
    async with Lab(devices) as lab:
        settings = CollectSettings(concurrency=6)
        async with NetRaven.in_memory(devices_of(lab), [SVC], settings=settings) as raven:
            store = memory_of(raven)
            async with contextlib.aclosing(raven.stream()) as stream:
                async for outcome in stream:
                    assert outcome.device.name == "r0"
                    break
            assert store.runs[1].status is RunStatus.INTERRUPTED
            assert store.runs[1].counts.collected == 1
            assert not any(t.get_name().startswith("netraven") for t in asyncio.all_tasks())
            async with asyncio.timeout(5):
                while lab.connections:  # noqa: ASYNC110 - it happens in the devices
                    await asyncio.sleep(0.005)


async def test_cancelling_a_collection_keeps_what_was_done() -> None:
    devices = [router(f"r{n}", think=0.0 if n < 3 else 30.0) for n in range(8)]
    async with Lab(devices) as lab, NetRaven.in_memory(devices_of(lab), [SVC]) as raven:
        store = memory_of(raven)
        collecting = asyncio.create_task(raven.collect())
        async with asyncio.timeout(10):
            while len(store.outcomes) < 3:  # noqa: ASYNC110 - it happens in the run
                await asyncio.sleep(0.005)
        begun = asyncio.get_running_loop().time()
        collecting.cancel()
        await asyncio.wait([collecting])
        assert asyncio.get_running_loop().time() - begun < 2
        assert store.runs[1].status is RunStatus.INTERRUPTED
        assert store.runs[1].counts.collected == 3
        assert len(store.snapshots) == 3


# ---- embedding with a database


async def installation(folder: Path, lab: Lab) -> Path:
    file = folder / "netraven.toml"
    file.write_text("[collect]\nretries = 0\n")
    write_new_key_file(folder / "netraven.key")
    await create_and_upgrade(f"sqlite+aiosqlite:///{folder}/netraven.db")
    async with NetRaven.open(file) as raven:
        await raven.store.inventory.upsert_devices(devices_of(lab))
        await raven.store.vault.add(SVC, Secret("right"))
    return file


async def test_the_example_with_a_database(tmp_path: Path) -> None:
    async with Lab([router("r1"), router("r2", ill=Ill("port_closed"))]) as lab:
        file = await installation(tmp_path, lab)
        async with NetRaven.open(file) as raven:
            report = await raven.collect(tags={"edge"})
        assert {o.device.name: (o.status, o.changed) for o in report.outcomes} == {
            "r1": (Status.COLLECTED, True),
            "r2": (Status.FAILED, None),
        }
        async with NetRaven.open(file) as raven:
            again = await raven.collect(names=["r1"])
            assert [(o.status, o.changed) for o in again.outcomes] == [(Status.COLLECTED, False)]
            assert [r.status for r in await raven.store.runs.list()] == [
                RunStatus.PARTIAL,
                RunStatus.COMPLETE,
            ]
            shown = await raven.configurations.show("r1")
            assert "hostname r1" in shown.text
            (first,) = [change async for change in raven.configurations.changed_in(report.run.id)]
            assert (first.old, first.new) == (None, shown.version)


async def test_without_a_database_there_is_no_history() -> None:
    async with NetRaven.in_memory([], []) as raven:
        with pytest.raises(InputError, match="no history is kept"):
            _ = raven.configurations


async def test_a_stream_that_was_closed_early_is_on_record_as_interrupted(tmp_path: Path) -> None:
    devices = [router("r0"), *(router(f"r{n}", think=30.0) for n in range(1, 5))]
    async with Lab(devices) as lab:
        file = await installation(tmp_path, lab)
        async with NetRaven.open(file) as raven:
            async with contextlib.aclosing(raven.stream()) as stream:
                async for _ in stream:
                    break
            (run,) = await raven.store.runs.list()
        assert (run.status, run.counts.collected) == (RunStatus.INTERRUPTED, 1)


async def test_a_stream_that_was_just_left_is_on_record_as_interrupted_too(tmp_path: Path) -> None:
    devices = [router("r0"), *(router(f"r{n}", think=30.0) for n in range(1, 5))]
    async with Lab(devices) as lab:
        file = await installation(tmp_path, lab)
        async with NetRaven.open(file) as raven:
            async for _ in raven.stream():
                break
        async with NetRaven.open(file) as raven:
            (run,) = await raven.store.runs.list()
        assert (run.status, run.counts.collected) == (RunStatus.INTERRUPTED, 1)


async def test_an_unknown_platform_is_told_before_anything_is_done() -> None:
    devices = [Device("r1", "192.0.2.1", "cisco_iosx", tags=EDGE)]
    with pytest.raises(
        InputError, match="device 'r1': unknown platform 'cisco_iosx', did you mean 'cisco_ios"
    ):
        async with NetRaven.in_memory(devices, [SVC]):
            pass
    async with NetRaven.in_memory(devices, [SVC], transport=FakeTransport({})):
        pass  # a transport of the program's own knows its platforms itself
