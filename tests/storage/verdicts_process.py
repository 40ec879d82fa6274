"""A collector's process, reduced to its ledger: records 100 attempts at once against each of two credentials.

Arguments: the database's URL and the run's id. Says ``ready``, waits for a line, records, ends.
"""

from __future__ import annotations

import asyncio
import sys

from netraven.model import AttemptConcluded, AttemptStarted, Credential, Verdict, utcnow
from netraven.storage.engine import Database
from netraven.storage.inventory import SqlInventory
from netraven.storage.store import SqlStore

TIMES = 100


async def main(url: str, run_id: int) -> None:
    async with await Database.open(url) as database:
        ledger, inventory = SqlStore(database, None).ledger, SqlInventory(database)
        credentials = {credential.name: credential for credential in await inventory.credentials()}
        device = (await inventory.get("r1")).device
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

        async def record(credential: Credential, verdict: Verdict) -> None:
            (key,) = await ledger.commit([AttemptStarted(run_id, device, credential, utcnow(), "")])
            await ledger.commit([AttemptConcluded(key, device, credential, verdict, utcnow(), 1)])

        await asyncio.gather(
            *(record(credentials["refused"], Verdict.REFUSED) for _ in range(TIMES)),
            *(record(credentials["accepted"], Verdict.ACCEPTED) for _ in range(TIMES)),
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
