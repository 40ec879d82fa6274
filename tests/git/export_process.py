"""An export in a process of its own, which waits before each version until it is told to go on.

Arguments: the database's URL, the key file, the repository, versions between checkpoints, ``export`` or ``rebuild``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from netraven.git import export
from netraven.storage.store import SqlStore
from tests.git.repositories import exporter


async def main(url: str, key_file: str, path: str, checkpoint: int, what: str) -> None:
    export.CHECKPOINT_VERSIONS = checkpoint
    async with SqlStore.open(url, key_file=Path(key_file)) as store:
        exporting = exporter(store, Path(path))
        shown = exporting._text

        async def slowly(stored: Any) -> str:
            print("version", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            return await shown(stored)

        exporting._text = slowly
        await exporting.export(rebuild=what == "rebuild")
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]))
