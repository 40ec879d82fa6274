"""Holds as a person meets them: in the list of credentials, and lifted by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from netraven.assembly import open_store
from netraven.collect import moments
from netraven.config import load_settings
from netraven.credentials.holds import secret_key
from netraven.credentials.lockout import Account, Ask, Policy
from netraven.credentials.realm_health import Pause
from netraven.model import Credential, Verdict
from netraven.storage.store import SqlStore
from tests.cli.conftest import Command

NETOPS = ("default", "netops")


def in_store(home: Path, work: Callable[[SqlStore], Awaitable[Any]]) -> Any:
    async def opened() -> Any:
        async with open_store(load_settings(home / "netraven.toml", environ={})) as store:
            return await work(store)

    return asyncio.run(opened())


def refuse(home: Path, name: str, times: int, *, holder: str | None = None) -> None:
    """Leave behind what a guard leaves after so many refusals; with a ``holder``, while it drives the account."""

    async def write(store: SqlStore) -> None:
        credential: Credential = (await store.vault.get(name)).credential
        account = Account(Policy())
        for _ in range(times):
            account.conclude(account.grant(Ask(secret_key(credential))), Verdict.REFUSED, moments.now())
        assert await store.guard_book.take(credential.account, holder or "guard", 60.0) is not None
        lease = 60.0 if holder else None
        assert await store.guard_book.keep(credential.account, holder or "guard", account.dump(), lease)

    in_store(home, write)


def pause(home: Path, realm: str) -> None:
    now = moments.now()
    state = Pause(now, now.wall + 300, "3 proven logins refused in 6 s").to_json()
    in_store(home, lambda store: store.guard_book.pause(realm, state))


def test_the_list_is_as_narrow_as_before_while_nothing_is_held(ready: Path, nr: Command) -> None:
    assert "held" not in nr("credential", "list").out
    rows = nr("credential", "list", "--json").json
    assert [(row["held_until"], row["hold_reason"]) for row in rows] == [(None, None), (None, None)]


def test_the_list_says_what_is_held_until_when_and_why(ready: Path, nr: Command) -> None:
    refuse(ready, "netops", 3)
    said = nr("credential", "list").out
    assert "held until (UTC)" in said
    assert "netops is held, nothing is sent: refused 3 times in a row." in said
    assert "  netraven credential release netops\n" in said
    rows = {row["name"]: row for row in nr("credential", "list", "--json").json}
    assert rows["netops"]["hold_reason"] == "refused 3 times in a row"
    assert rows["netops"]["held_until"].endswith("Z")
    assert rows["admin"]["held_until"] is None
    assert "held" not in nr("credential", "list", "--json").err


def test_a_released_credential_is_offered_again(ready: Path, nr: Command) -> None:
    refuse(ready, "netops", 4)
    assert nr("collect", "--device", "evil").code == 1
    said = nr("credential", "release", "netops")
    assert said.code == 0
    assert "forgot 4 refusals of netops in realm default" in said.out
    assert "be sure that the service which judges it has forgotten them too" in said.out
    assert nr("credential", "list", "--json").json[1]["held_until"] is None
    assert nr("collect", "--device", "evil").code == 0
    again = nr("credential", "release", "netops")
    assert (again.code, again.out) == (
        0,
        "nothing is held of netops in realm default, and no refusal is on record\n",
    )


def test_a_release_ends_the_pause_of_the_realm(ready: Path, nr: Command) -> None:
    pause(ready, "default")
    listed = nr("credential", "list").out
    assert (
        "admin, netops are held, nothing is sent: realm default looks unwell: 3 proven logins refused in 6 s."
        in listed
    )
    said = nr("credential", "release", "admin")
    assert said.code == 0
    assert "ended the pause of realm default (3 proven logins refused in 6 s)" in said.out
    assert in_store(ready, lambda store: store.guard_book.pauses()) == {}


def test_an_account_in_use_is_not_released(ready: Path, nr: Command) -> None:
    from netraven.storage.owner import current_owner

    refuse(ready, "netops", 4, holder=f"{current_owner()}#1")
    before = in_store(ready, lambda store: store.guard_book.states())
    said = nr("credential", "release", "netops")
    assert (said.code, said.out) == (2, "")
    assert "netops in realm default is in use: another process offers its secrets" in said.err
    assert in_store(ready, lambda store: store.guard_book.states()) == before


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_unknown_credential(more: tuple[str, ...], ready: Path, nr: Command) -> None:
    said = nr("credential", "release", "nobody")
    assert (said.code, said.err) == (2, "error: no such credential: nobody\n")


def test_where_each_device_counts_there_is_nothing_to_release(ready: Path, nr: Command) -> None:
    assert nr("credential", "update", "netops", "--realm", "local").code == 0
    said = nr("credential", "release", "netops")
    assert said.code == 0
    assert "each device counts refusals for itself" in said.out
