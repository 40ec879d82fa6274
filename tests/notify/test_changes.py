"""What hooks get to see of configurations: real versions, real rules, no secret."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from netraven.credentials.sealing import Keyring
from netraven.history.configurations import Configurations
from netraven.history.pattern import Pattern
from netraven.model import Device, Event, EventKind, RunStatus, Subscription, utcnow
from netraven.notify.changes import Changes
from netraven.notify.command import CommandHook
from netraven.notify.courier import Courier, Hook
from netraven.notify.mail import Mail, Server
from netraven.notify.webhook import Webhook
from netraven.platforms import Catalogue
from netraven.storage.engine import Database
from netraven.storage.schema import snapshots
from netraven.storage.store import SqlStore
from tests.canaries import Canaries
from tests.notify.receivers import receiving, taking_mail
from tests.storage.facts import add_device, collected, failed, start_run

OLD_SECRET = "c4n4ry-old-0f-the-device"
NEW_SECRET = "c4n4ry-new-0f-the-device"
SPOKEN = "c4n4ry-0f-the-community"


def configuration(secret: str, mtu: int = 1500) -> str:
    return (
        "hostname r1\n!\n"
        f"username admin privilege 15 password 0 {secret}\n"
        f"snmp-server community {SPOKEN} RO\n"
        f"interface Vlan1\n mtu {mtu}\n no shutdown\n!\nend\n"
    )


ALL = frozenset(EventKind)


@pytest.fixture
def store(database: Database) -> SqlStore:
    hooks = [Subscription(name, ALL) for name in ("web", "program", "mail", "digest")]
    return SqlStore(database, Keyring.generate(), catalogue=Catalogue(), subscriptions=hooks)


@pytest.fixture
def changes(store: SqlStore) -> Changes:
    return Changes(store.versions, Configurations(store.versions, Catalogue(), store.history_keys.marker))


async def seen(store: SqlStore, device: Device, text: str) -> Event:
    """Collect it; what a hook is to be told of it."""
    run = await start_run(store)
    await store.commit([collected(run, device, text=text)])
    history = await store.versions.history(device.name, "running", limit=1)
    return Event(EventKind.CHANGED, utcnow(), run.id, device.name, device.id, versions=(history[0].id,))


async def test_a_change_is_told_with_marks_in_the_place_of_secrets(store: SqlStore, changes: Changes) -> None:
    device = await add_device(store)
    await seen(store, device, configuration(OLD_SECRET))
    event = await seen(store, device, configuration(NEW_SECRET, mtu=9000))
    (change,) = await changes.of(event)
    assert (change.kind, change.number, change.previous, change.problem) == ("running", 2, 1, "")
    assert (change.added, change.removed) == (2, 2)
    assert change.diff.startswith("--- running 1\n+++ running 2\n@@ ")
    assert "- mtu 1500\n+ mtu 9000\n" in change.diff
    assert change.diff.count("password 0 <redacted:") == 2  # another mark: that it changed can be seen
    for secret in (OLD_SECRET, NEW_SECRET, SPOKEN):
        assert secret not in change.diff


async def test_the_first_version_is_counted_and_not_told(store: SqlStore, changes: Changes) -> None:
    event = await seen(store, await add_device(store), configuration(OLD_SECRET))
    (change,) = await changes.of(event)
    assert (change.previous, change.added, change.removed, change.diff) == (None, 9, 0, "")


async def test_without_differences_they_are_still_counted(store: SqlStore, changes: Changes) -> None:
    device = await add_device(store)
    await seen(store, device, configuration(OLD_SECRET))
    (change,) = await changes.of(
        await seen(store, device, configuration(OLD_SECRET, 9000)), differences=False
    )
    assert (change.added, change.removed, change.diff) == (1, 1, "")


@pytest.mark.parametrize(("pattern", "found"), [("^ mtu", True), ("^hostname", False), (NEW_SECRET, False)])
async def test_a_pattern_is_looked_for_in_lines_that_changed_as_they_are_shown(
    store: SqlStore, changes: Changes, pattern: str, found: bool
) -> None:
    device = await add_device(store)
    await seen(store, device, configuration(OLD_SECRET))
    event = await seen(store, device, configuration(NEW_SECRET, mtu=9000))
    assert bool(await changes.of(event, pattern=Pattern(pattern, regex=True))) is found


async def test_a_version_that_is_gone_is_not_told(store: SqlStore, changes: Changes) -> None:
    device = await add_device(store)
    event = await seen(store, device, configuration(OLD_SECRET))
    await store.inventory.remove(device.name)
    assert await changes.of(event) == ()


async def test_where_it_is_not_known_what_is_secret_nothing_of_the_text_is_told(
    store: SqlStore, changes: Changes
) -> None:
    device = await add_device(store)
    await seen(store, device, configuration(OLD_SECRET))
    event = await seen(store, device, configuration(NEW_SECRET))
    async with store.database.writing() as connection:
        await connection.execute(update(snapshots).values(platform="removed_since"))
    (change,) = await changes.of(event, pattern=Pattern("never found"))
    assert (change.number, change.previous, change.diff) == (2, 1, "")
    assert "the difference cannot be told" in change.problem
    assert "removed_since" in change.problem


async def test_a_text_that_cannot_be_opened_is_told_of_without_it(store: SqlStore) -> None:
    device = await add_device(store)
    event = await seen(store, device, configuration(OLD_SECRET))
    stranger = SqlStore(store.database, Keyring.generate(), catalogue=Catalogue())
    configurations = Configurations(stranger.versions, Catalogue(), stranger.history_keys.marker)
    (change,) = await Changes(stranger.versions, configurations).of(event)
    assert change.diff == ""
    assert "the difference cannot be told" in change.problem


async def text(words: str) -> str:
    return words


def hooks(store: SqlStore, folder: Path, web: str, mail_port: int) -> list[Hook]:
    url: Callable[[], Awaitable[str]] = partial(text, web)
    code = "import sys; open('program.jsonl', 'a').write(sys.stdin.read() + '\\n')"
    mail = partial(Mail, Server("127.0.0.1", mail_port, "none"), "raven@example.net", ["net@example.net"])
    return [
        Hook("web", Webhook(url, None, timeout=20)),
        Hook("program", CommandHook([sys.executable, "-c", code], folder=folder, environ={}, timeout=20)),
        Hook("mail", mail(timeout=20)),
        Hook("digest", mail(timeout=20), digest=True),
    ]


async def test_no_secret_leaves_by_any_way(store: SqlStore, changes: Changes, tmp_path: Path) -> None:
    hunt = Canaries({"old": OLD_SECRET, "new": NEW_SECRET, "community": SPOKEN})
    device, other = await add_device(store), await add_device(store, "r2")
    for secret, mtu in ((OLD_SECRET, 1500), (NEW_SECRET, 9000)):
        run = await start_run(store)
        await store.commit([collected(run, device, text=configuration(secret, mtu)), failed(run, other)])
        await store.finish(run, RunStatus.PARTIAL, run.counts)
    async with receiving() as receiver, taking_mail() as server, asyncio.timeout(60):
        ways = hooks(store, tmp_path, receiver.url(), server.port)
        later = utcnow() + timedelta(minutes=1)
        await Courier(ways, store.outbox, changes, now=lambda: later).deliver()
    assert [standing.waiting for standing in await store.outbox.standing()] == []
    told = [posted.json["type"] for posted in receiver.posted]
    assert sorted(told) == ["changed", "failed", "failed-again", "first-seen", "run-finished", "run-finished"]
    programs = (tmp_path / "program.jsonl").read_text()
    assert sorted(json.loads(line)["type"] for line in programs.splitlines()) == sorted(told)
    subjects = sorted(str(mail["Subject"]) for mail in server.mails)
    assert len(subjects) == 8
    assert "NetRaven: run 2: 1 changed, 1 failed again" in subjects
    for posted in receiver.posted:
        hunt.hunt("webhook", posted.line.encode() + posted.body)
    hunt.hunt("command", programs)
    for raw, mail in zip(server.raw, server.mails, strict=True):
        hunt.hunt("mail", raw)
        hunt.hunt("mail text", mail.get_content())
        hunt.hunt("mail text", str(mail["Subject"]))
    whole = "".join(mail.get_content() for mail in server.mails)
    assert "+ mtu 9000" in whole  # the difference did travel
    assert "<redacted:" in whole
    for version in await store.versions.history(
        "r1", "running"
    ):  # nothing that guesses could be tried against
        hunt_for_digest = [*(p.body.decode() for p in receiver.posted), programs, whole]
        assert not any(version.sha256[:12] in told for told in hunt_for_digest)
    hunt.verdict()
