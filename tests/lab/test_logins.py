"""Who gets in, what the referee saw of it, and what an AAA server makes of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from netraven.lab import AAA, Ill, Lab, LabDevice, WireLog, secret_hash


def router(name: str = "r1", **more: object) -> LabDevice:
    return LabDevice(name, accepts={"netops": "right", "noc": "other"}, **more)  # type: ignore[arg-type]  # table-driven


def verdicts(lab: Lab, name: str = "r1") -> list[tuple[str, str, str | None]]:
    return [(a.username, a.password, a.verdict) for a in lab.log.attempts(name)]


async def test_each_secret_on_the_wire_is_counted_once_with_its_verdict(dial: Any) -> None:
    async with Lab([router()]) as lab:
        async with await dial(lab, "r1", "netops", "old", "right"):
            assert verdicts(lab) == [("netops", "old", "refused"), ("netops", "right", "accepted")]
        async with await dial(lab, "r1", "noc", "other"):
            pass
        with pytest.raises(asyncssh.PermissionDenied):
            await dial(lab, "r1", "noc", "right")
        assert lab.log.secrets_seen("r1") == ["old", "right", "other", "right"]
        counts = lab.log.counts()
        assert (counts["connect"], counts["kex"], counts["attempt"]) == (3, 3, 4)
        assert (counts["accepted"], counts["refused"]) == (2, 2)


async def test_a_client_that_refuses_the_host_key_completes_no_key_exchange(eventually: Any) -> None:
    async with Lab([router()]) as lab:
        host, port = lab.endpoint("r1")
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await asyncssh.connect(
                host, port, username="netops", password="right", known_hosts=([], [], []), config=None
            )
        await eventually(lambda: not lab.connections)
        assert "kex" not in lab.log.counts()
        assert lab.log.attempts() == []


async def test_passwords_show_in_no_repr_and_in_no_file(dial: Any, tmp_path: Path) -> None:
    sink = tmp_path / "wire.jsonl"
    lab = Lab([router()], log=WireLog(sink=sink))
    async with lab, await dial(lab, "r1", "netops", "wrong-secret", "right"):
        assert "wrong-secret" not in repr(lab.log.attempts())
        assert "right" not in repr(lab.devices)
    lines = [json.loads(line) for line in sink.read_text().splitlines()]
    told = [(line["event"], line.get("verdict"), line.get("secret")) for line in lines if "attempt" in line]
    assert told == [
        ("attempt", None, secret_hash("wrong-secret")),
        ("verdict", "refused", None),
        ("attempt", None, secret_hash("right")),
        ("verdict", "accepted", None),
    ]
    assert "wrong-secret" not in sink.read_text()
    assert [line["event"] for line in lines][:2] == ["connect", "kex"]


async def test_without_recording_only_the_counters_move(dial: Any) -> None:
    async with Lab([router()], log=WireLog(record=False)) as lab:
        async with await dial(lab, "r1", "netops", "right"):
            pass
        assert lab.log.attempts() == []
        assert lab.log.counts()["accepted"] == 1


async def test_keyboard_interactive_alone_or_beside_password(dial: Any) -> None:
    devices = [
        router(auth=("keyboard-interactive",)),
        router("r2", auth=("password", "keyboard-interactive")),
    ]
    async with Lab(devices) as lab:
        for name in ("r1", "r2"):
            async with await dial(lab, name, "netops", "right"):
                pass
        assert [attempt.method for attempt in lab.log.attempts()] == ["keyboard-interactive", "password"]


async def test_a_question_asked_again_in_the_same_exchange_is_a_refusal(dial: Any) -> None:
    device = router(auth=("keyboard-interactive",), ill=Ill("kbdint_retry"))
    async with Lab([device]) as lab:
        async with await dial(lab, "r1", "netops", "old", "right"):
            pass
        assert verdicts(lab) == [("netops", "old", "refused"), ("netops", "right", "accepted")]


async def test_refuses_every_password(dial: Any) -> None:
    async with Lab([router(ill=Ill("refuses"))]) as lab:
        with pytest.raises(asyncssh.PermissionDenied):
            await dial(lab, "r1", "netops", "right")
        assert verdicts(lab) == [("netops", "right", "refused")]


async def test_disconnects_instead_of_refusing(dial: Any) -> None:
    async with Lab([router(ill=Ill("disconnect_at_login"))]) as lab:
        with pytest.raises(asyncssh.DisconnectError) as caught:
            await dial(lab, "r1", "netops", "old", "right")
        assert caught.value.code == asyncssh.DISC_PROTOCOL_ERROR
        assert "Too many authentication failures" in caught.value.reason
        assert verdicts(lab) == [("netops", "old", "refused")]


async def test_cut_once_the_secret_was_offered(dial: Any) -> None:
    async with Lab([router(ill=Ill("close_at_login"))]) as lab:
        with pytest.raises((asyncssh.ConnectionLost, ConnectionError)):
            await dial(lab, "r1", "netops", "right")
        assert verdicts(lab) == [("netops", "right", "unanswered")]


async def test_never_answers_the_login(dial: Any, eventually: Any) -> None:
    async with Lab([router(ill=Ill("hung_login"))]) as lab:
        waiting = asyncio.create_task(dial(lab, "r1", "netops", "right"))
        await eventually(lambda: len(lab.log.attempts()) == 1)
        assert verdicts(lab) == [("netops", "right", None)]
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually(lambda: not lab.connections)
        assert verdicts(lab) == [("netops", "right", "unanswered")]


async def test_an_expired_password_is_neither_refused_nor_accepted(dial: Any) -> None:
    async with Lab([router(ill=Ill("expired_password"))]) as lab:
        with pytest.raises(asyncssh.PermissionDenied):
            await dial(lab, "r1", "netops", "right")
        assert verdicts(lab) == [("netops", "right", "expired")]


async def test_a_password_changed_at_run_time_counts_for_the_next_attempt(dial: Any) -> None:
    async with Lab([router(), router("r2")]) as lab:
        lab.set_password("netops", "fresh", names=["r1"])
        async with await dial(lab, "r1", "netops", "right", "fresh"):
            pass
        async with await dial(lab, "r2", "netops", "right"):
            pass
        assert [attempt.verdict for attempt in lab.log.attempts()] == ["refused", "accepted", "accepted"]


async def test_the_aaa_server_locks_at_its_threshold_over_the_whole_fleet(dial: Any) -> None:
    aaa = AAA(3)
    async with Lab([router(f"r{n}") for n in range(4)], aaa=aaa) as lab:
        for name in ("r0", "r1"):
            with pytest.raises(asyncssh.PermissionDenied):
                await dial(lab, name, "netops", "old")
        assert not aaa.locked("netops")
        with pytest.raises(asyncssh.PermissionDenied):
            await dial(lab, "r2", "netops", "old")
        with pytest.raises(asyncssh.PermissionDenied):
            await dial(lab, "r3", "netops", "right")
        assert aaa.lockouts == ("netops",)
        assert aaa.refusals == 4
        async with await dial(lab, "r3", "noc", "other"):
            pass
        aaa.unlock("netops")
        async with await dial(lab, "r3", "netops", "right"):
            pass


async def test_a_success_sets_the_count_back() -> None:
    aaa = AAA(3)
    for right in (False, False, True, False, False, True):
        aaa.judge("r1", "netops", right)
    assert aaa.lockouts == ()
    assert aaa.worst_streak["netops"] == 2


async def test_counts_per_device_do_not_add_up() -> None:
    aaa = AAA(2, central=False)
    for device in ("r1", "r2", "r1"):
        assert not aaa.judge(device, "netops", right=False)
    assert aaa.lockouts == ("netops@r1",)
    assert aaa.judge("r2", "netops", right=True)


async def test_the_aaa_server_may_fall_silent_or_refuse_everyone(dial: Any, eventually: Any) -> None:
    aaa = AAA(9, answer_delay=0.01)
    async with Lab([router()], aaa=aaa) as lab:
        aaa.mode = "refuse_all"
        with pytest.raises(asyncssh.PermissionDenied):
            await dial(lab, "r1", "netops", "right")
        aaa.mode = "silent"
        waiting = asyncio.create_task(dial(lab, "r1", "netops", "right"))
        await eventually(lambda: len(lab.log.attempts()) == 2)
        waiting.cancel()
        await asyncio.wait([waiting])
        aaa.mode = "normal"
        async with await dial(lab, "r1", "netops", "right"):
            pass
        assert [attempt.verdict for attempt in lab.log.attempts()] == ["refused", "unanswered", "accepted"]
