"""A history to take along, and what of it has to be the same elsewhere."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import zstandard

from netraven.archive.lines import Form
from netraven.archive.moving import Export, Exported, Import, Imported
from netraven.history.configurations import Configurations
from netraven.history.retention import Limits
from netraven.model import Selector, utcnow
from netraven.platforms import Catalogue
from netraven.storage.store import SqlStore
from tests.storage.facts import add_device
from tests.storage.pasts import edits, moment, remember

CANARY = "c4n4ry-community"
SECRETS = "hostname r3\nsnmp-server community c4n4ry-community RO\nend\n"


async def live(store: SqlStore) -> None:
    """Three devices, two kinds, a text that two of them share, gaps in the numbers, bytes that are no text."""
    one = await add_device(store, "r1", host="192.0.2.1", tags={"edge", "core"})
    two = await add_device(
        store, "r2", host="2001:db8::2", port=2222, platform="juniper_junos", tags={"core"}
    )
    three = await add_device(store, "r3")
    await add_device(store, "r4-never-collected", tags=set())
    await remember(store, one, edits(7, size=3000))
    await remember(store, one, ["same version\n", "caf\udce9 \x1b]0;title\x07 \x9b5n\n"], kind="version")
    await remember(store, two, ["same version\n"], kind="version", first_day=3)
    await remember(store, two, ["set a\n", "set b\n", "set a\n"], first_day=2)
    await remember(store, three, [SECRETS])
    await store.pruning.run(Limits(versions=5), 0, moment(100))
    await store.packing.run()


async def write(
    store: SqlStore, path: Path, form: Form = Form.RAW, *, force: bool = False, **chosen: Any
) -> Exported:
    selector = Selector(frozenset(chosen.get("tags", ())), frozenset(chosen.get("names", ())))
    marks = Configurations(store.versions, Catalogue(), store.history_keys.marker)
    redact = partial(marks.text, raw=False) if form is Form.REDACTED else None
    keyring = store.vault.seals.keyring if form is Form.SEALED else None
    return await Export(store.archives, selector, form, utcnow(), keyring, redact).write(path, force=force)


async def read(store: SqlStore, path: Path, **how: Any) -> Imported:
    return await Import(store.archives, store.vault.seals.keyring, **how).read(path)


def unpacked(path: Path) -> bytes:
    return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj().decompress(path.read_bytes())


def packed(path: Path, lines: bytes) -> Path:
    path.write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(lines))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in unpacked(path).splitlines()]


def rewritten(path: Path, into: Path, found: list[dict[str, Any]]) -> Path:
    """An archive of these lines with an end that fits them: what somebody makes who knows the format."""
    *body, end = found
    before = b"".join(json.dumps(line).encode() + b"\n" for line in body)
    kinds = {"devices": "device", "texts": "text", "versions": "version"}
    counts = {name: sum(line.get("type") == kind for line in body) for name, kind in kinds.items()}
    last = {**end, **counts, "sha256": hashlib.sha256(before).hexdigest()}
    return packed(into, before + json.dumps(last).encode() + b"\n")


def lasting(path: Path) -> list[dict[str, Any]]:
    """What is the same in every archive of the same history in clear: all but when it was made, and runs."""
    found = [{k: v for k, v in line.items() if k not in ("created_at", "run")} for line in lines(path)]
    return [line if line["type"] != "end" else {**line, "sha256": None} for line in found]


async def state(store: SqlStore) -> list[Any]:
    """Everything that an archive takes along."""
    found: list[Any] = [
        (d.name, d.host, d.port, d.platform, sorted(d.tags)) for d in await store.inventory.list()
    ]
    async for one in store.versions.every(Selector()):
        v = one.version
        found.append(
            (v.device, v.kind, v.number, v.sha256, v.platform, v.first_seen_at, v.last_seen_at, one.text)
        )
    return found
