"""`kill -9` of a prune, an export and an import: what was there is there, whole, and the next one carries on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from pathlib import Path

import pytest

from netraven.history.retention import Limits
from netraven.model import Selector, utcnow
from netraven.storage import schema
from netraven.storage.store import SqlStore
from tests.acceptance.installation import Installation
from tests.acceptance.processes import NETRAVEN, ROOT, netraven, started
from tests.storage.facts import add_device
from tests.storage.pasts import count, edits, moment

DEVICES = 25
VERSIONS = 20
MOMENTS = 4
"""How often each is killed on each database."""


async def make(store: SqlStore) -> dict[tuple[str, int], str]:
    """A history, put in at once; the texts by device and number."""
    expected = {}
    for n in range(DEVICES):
        device = await add_device(store, f"r{n:02}")
        assert device.id is not None
        texts = edits(VERSIONS, name=device.name, size=4000)
        dated = [(moment(day), moment(day), text) for day, text in enumerate(texts)]
        async with store.database.writing() as connection:
            await store.importing.add(connection, device.id, "running", "cisco_iosxe", dated)
        expected.update({(device.name, number): text for number, text in enumerate(texts, 1)})
    return expected


async def everything(store: SqlStore) -> dict[tuple[str, int], str]:
    return {(s.version.device, s.version.number): s.text async for s in store.versions.every(Selector())}


async def killed(installation: Installation, delay: float, *words: str) -> int:
    """Run a command and kill it after so many seconds; its exit code, 0 where it was done by then."""
    async with started(*NETRAVEN, "--config", str(installation.file), *words, cwd=ROOT) as process:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.process.wait(), delay)
        if process.process.returncode is None:
            process.send(signal.SIGKILL)
        return (await process.end()).code


def moments(whole: float) -> list[float]:
    """Moments to kill at, of something that takes so long in all; starting Python is a good part of that."""
    chosen = random.Random()
    found = sorted(chosen.uniform(0.3, 1.0) * whole for _ in range(MOMENTS))
    print("killed after", found)
    return found


async def seconds_of(installation: Installation, *words: str) -> float:
    began = asyncio.get_running_loop().time()
    said = await netraven(*words, config=installation.file)
    assert said.code == 0, said.err
    return asyncio.get_running_loop().time() - began


def retention(installation: Installation, words: str) -> None:
    with installation.file.open("a") as file:
        file.write(f"[retention]\n{words}\n")


@pytest.mark.slow
async def test_a_prune_that_is_killed(any_installation: Installation) -> None:
    installation = any_installation
    retention(installation, "versions = 8")
    async with installation.open() as raven:
        expected = await make(raven.store)
    kept = {key: text for key, text in expected.items() if key[1] > VERSIONS - 8}
    took = await seconds_of(installation, "prune", "--dry-run")
    for delay in moments(took + 2.0):
        await killed(installation, delay, "prune")
        async with installation.open() as raven:
            there = await everything(raven.store)
        assert kept.items() <= there.items() <= expected.items()
    assert (await netraven("prune", config=installation.file)).code == 0
    async with installation.open() as raven:
        assert await everything(raven.store) == kept
        assert await count(raven.store, schema.blobs) == len(kept)
        found, _ = await raven.store.pruning.preview(Limits(8), 0, utcnow())
        assert (found.versions, found.texts) == (0, 0)


@pytest.mark.slow
async def test_an_export_and_an_import_that_are_killed(
    any_installation: Installation, tmp_path: Path
) -> None:
    installation = any_installation
    async with installation.open() as raven:
        expected = await make(raven.store)
    file = tmp_path / "history.zst"
    took = await seconds_of(installation, "history", "export", str(file))
    file.unlink()
    for delay in moments(took):
        await killed(installation, delay, "history", "export", str(file))
        if file.exists():  # killed after its last word: it is whole
            assert (
                await netraven("history", "import", "--dry-run", str(file), config=installation.file)
            ).code == 0
            file.unlink()
    assert (await netraven("history", "export", str(file), config=installation.file)).code == 0
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []

    async with installation.open() as raven:
        for n in range(DEVICES):
            await raven.store.inventory.remove(f"r{n:02}")
    took = await seconds_of(installation, "history", "import", str(file), "--dry-run")
    for delay in moments(took + 1.0):
        await killed(installation, delay, "history", "import", str(file))
        async with installation.open() as raven:
            there = await everything(raven.store)
        assert there.items() <= expected.items()  # every version under its own number
    assert (await netraven("history", "import", str(file), config=installation.file)).code == 0
    async with installation.open() as raven:
        assert await everything(raven.store) == expected
