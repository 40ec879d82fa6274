"""`netraven credential report`: which devices accept which version of a secret."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from netraven.cli.context import Context
from netraven.cli.screen import ROWS, Table, ago, clock, console, counted, print_json, say
from netraven.model import Credential, Selector, utcnow
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.storage.acceptance import VersionAcceptance
    from netraven.storage.store import SqlStore

SOME_NAMES = 10
"""Names of devices on the line about those that are not proven."""


async def report(context: Context, *, name: str, limit: int | None, as_json: bool) -> int:
    async with context.store() as store:
        credential = (await store.vault.get(name)).credential
        versions = await store.acceptance.versions(credential)
        if as_json:
            await _print_document(store, credential, versions)
            return 0
        wanted = limit or ROWS
        judged = []
        async for row in store.acceptance.devices(credential):
            judged.append(row)
            if len(judged) > wanted:
                break
        unproven = await store.acceptance.count_not_proven(credential)
        matching = await store.count(Selector(tags=credential.tags)) if credential.tags else 0
        some = [device async for device in _first(store, credential, SOME_NAMES)]
    say(
        f"credential {plain_line(name)}, user {plain_line(credential.username)}, realm {plain_line(credential.realm)}"
    )
    for version in versions:
        say(_line(version, credential, matching, unproven))
    if judged:
        say()
        table = Table(
            "device", "version", "last verdict", "at (UTC)", "last accepted (UTC)", right=("version",)
        )
        for row in islice(judged, wanted):
            table.add(
                row.device,
                row.version,
                row.last_verdict.value,
                clock(row.last_verdict_at),
                clock(row.last_success),
            )
        table.print(console())
    if len(judged) > wanted:
        say(f"\nThe first {wanted} lines; --limit N shows more, --json everything.")
    if some:
        more = f" and {unproven - len(some):,} more" if unproven > len(some) else ""
        say(
            f"\nNot yet proven with version {credential.secret_version}: {plain_line(', '.join(some), 1000)}{more}"
        )
    return 0


async def _first(store: SqlStore, credential: Credential, wanted: int) -> AsyncIterator[str]:
    async for name in store.acceptance.not_proven(credential):
        if not wanted:
            return
        wanted -= 1
        yield name


def _line(version: VersionAcceptance, credential: Credential, matching: int, unproven: int) -> str:
    """A version in one line; how many of the devices that match is said of the current one only."""
    current = version.version == credential.secret_version
    accepted = (
        f"{matching - unproven:,} of {counted(matching, 'device')}"
        if current
        else counted(version.accepted, "device")
    )
    refused = f", refused by {counted(version.refused, 'device')}" if version.refused else ""
    if version.last_success is None:
        return f"  version {version.version}: {accepted}, never proven{refused}"
    return (
        f"  version {version.version}: {accepted}, last proven {ago(version.last_success, utcnow())}{refused}"
    )


async def _print_document(
    store: SqlStore, credential: Credential, versions: Sequence[VersionAcceptance]
) -> None:
    print_json(
        {
            "name": credential.name,
            "username": credential.username,
            "realm": credential.realm,
            "version": credential.secret_version,
            "versions": [
                {
                    "version": version.version,
                    "accepted": version.accepted,
                    "refused": version.refused,
                    "last_success": version.last_success,
                }
                for version in versions
            ],
            "devices": [
                {
                    "device": row.device,
                    "version": row.version,
                    "last_verdict": row.last_verdict.value,
                    "last_verdict_at": row.last_verdict_at,
                    "last_success": row.last_success,
                }
                async for row in store.acceptance.devices(credential)
            ],
            "not_proven": [device async for device in store.acceptance.not_proven(credential)],
        }
    )
