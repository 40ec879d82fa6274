"""Hooks as a user meets them: settings, a run against real devices, real receivers, and the commands."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from netraven import outlets
from tests.cli.conftest import Command, spawn
from tests.cli.test_platforms import MINE
from tests.notify.receivers import MailServer, Posted, Receiver, Reply, receiving, taking_mail

T = TypeVar("T")
KEY = b"c4n4ry-of-the-hook-key-0000000000"
PATH = "c4n4ry-of-the-address"


class Apart:
    """Receivers in a thread of their own: commands have the main thread for themselves."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    @contextmanager
    def up(self, receiver: Receiver | MailServer) -> Iterator[None]:
        context = receiving(receiver) if isinstance(receiver, Receiver) else taking_mail(receiver)
        self.do(context.__aenter__())
        try:
            yield
        finally:
            self.do(context.__aexit__(None, None, None))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


@pytest.fixture
def apart() -> Iterator[Apart]:
    apart = Apart()
    yield apart
    apart.stop()


@pytest.fixture
def short_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that is down is waited for no longer than this after a run."""
    monkeypatch.setattr(outlets, "GOODBYE", 0.3)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_KEY", "whsec_" + base64.b64encode(KEY).decode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def hook(home: Path, name: str, **keys: Any) -> None:
    import json

    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    with (home / "netraven.toml").open("a") as file:
        file.write(f"\n[hooks.{name}]\n" + "\n".join(lines) + "\n")


ALL = ["changed", "first-seen", "failed", "failed-again", "recovered", "run-finished"]


def web(home: Path, port: int, name: str = "chat", **more: Any) -> None:
    keys = {
        "type": "webhook",
        "url": f"http://127.0.0.1:{port}/{PATH}",
        "secret": "env:HOOK_KEY",
        "events": ALL,
    }
    hook(home, name, **(keys | more))


# ---- a run ----


@pytest.mark.usefixtures("short_goodbye")
def test_a_receiver_that_is_down_for_whole_runs_gets_everything_later_once_and_in_order(
    ready: Path, nr: Command, apart: Apart
) -> None:
    receiver = Receiver(port=free_port())
    web(ready, receiver.port)
    collected = nr("collect", "--json")
    assert collected.code == 1  # because of the devices, not because of the hook
    assert "still to be told, last error: http://127.0.0.1" in collected.err
    assert nr("collect", "--device", "r1", "--device", "closed").code == 1
    waiting = nr("hook", "list", "--json").json[0]["waiting"]
    assert waiting == 8 + 1  # r1, r2 and evil first seen, four failed, one of them again, two ends
    assert nr("hook", "deliver").code == 1
    with apart.up(receiver):
        delivered = nr("hook", "deliver", "--json")
        assert (delivered.code, delivered.json["delivered"], delivered.json["waiting"]) == (0, waiting, 0)
        assert nr("hook", "deliver", "--json").json["delivered"] == 0
    assert all(posted.verified(KEY) for posted in receiver.posted)
    events = [posted.json for posted in receiver.posted]
    assert len({event["id"] for event in events}) == len(events) == waiting
    per_device: dict[str, list[str]] = {}
    for event in events:
        per_device.setdefault(event["device"]["name"] if event["device"] else "", []).append(event["type"])
    assert per_device == {
        "r1": ["first-seen"],
        "r2": ["first-seen"],
        "evil": ["first-seen"],
        "error": ["failed"],
        "closed": ["failed", "failed-again"],
        "stranger": ["failed"],
        "": ["run-finished", "run-finished"],
    }
    ends = [event for event in events if event["type"] == "run-finished"]
    assert [end["run"] for end in ends] == [1, 2]
    assert ends[0]["counts"] == collected.json["counts"]


def test_hooks_are_told_during_the_run_and_at_its_end(ready: Path, nr: Command, apart: Apart) -> None:
    receiver = Receiver()
    with apart.up(receiver):
        web(ready, receiver.port, tags=["edge"], events=["first-seen", "run-finished"])
        said = nr("collect", "--device", "r1")
    assert "still to be told" not in said.err
    assert sorted(posted.json["type"] for posted in receiver.posted) == ["first-seen", "run-finished"]
    (standing,) = nr("hook", "list", "--json").json
    assert (standing["hook"], standing["type"], standing["waiting"], standing["last_error"]) == (
        "chat", "webhook", 0, None,
    )  # fmt: skip


@pytest.mark.usefixtures("short_goodbye")
def test_a_hanging_command_is_cut_and_the_run_ends(ready: Path, nr: Command) -> None:
    hook(ready, "slow", type="command", command=["sleep", "600"], timeout=0.1, events=["first-seen"])
    said = nr("collect", "--device", "r1")
    assert said.code == 0
    (standing,) = nr("hook", "list", "--json").json
    assert standing["last_error"] == "sleep was still running after 0.1 s and was stopped"
    assert standing["waiting"] == 1


def test_a_run_is_one_mail(ready: Path, nr: Command, apart: Apart) -> None:
    server = MailServer()
    with apart.up(server):
        hook(
            ready, "night", type="mail", smtp=f"127.0.0.1:{server.port}", security="none",
            sender="raven@example.net", to=["net@example.net"],
        )  # fmt: skip
        nr("collect")
        nr("collect", "--device", "r1", "--device", "closed")
    first, second = server.mails
    assert first["Subject"] == "NetRaven: run 1: 3 new"
    assert second["Subject"] == "NetRaven: run 2: 1 failed again"
    assert "closed (cisco_iosxe; edge): unreachable" in second.get_content()
    assert first["Message-ID"] != second["Message-ID"]


@pytest.mark.usefixtures("short_goodbye")
def test_a_kill_between_the_delivery_and_its_record_sends_the_same_id_again(
    ready: Path, nr: Command, apart: Apart
) -> None:
    receiver = Receiver(port=free_port())
    web(ready, receiver.port, events=["first-seen"])
    assert nr("collect", "--device", "r1").code == 0
    program: subprocess.Popen[str] | None = None

    def kill(_: Posted) -> Reply:
        if len(receiver.posted) == 1 and program is not None:
            os.kill(program.pid, signal.SIGKILL)
            program.wait(20)
        return "204 No Content"

    receiver.reply = kill
    with apart.up(receiver):
        with spawn("hook", "deliver", cwd=ready) as program:
            assert program.wait(60) == -signal.SIGKILL
        assert nr("hook", "deliver", "--json").json["delivered"] == 1
    first, second = receiver.posted
    assert (first.json, first.headers["webhook-id"]) == (second.json, second.headers["webhook-id"])
    assert first.verified(KEY)
    assert second.verified(KEY)


@pytest.mark.usefixtures("short_goodbye")
def test_two_processes_at_once_deliver_everything_once(ready: Path, nr: Command, apart: Apart) -> None:
    receiver = Receiver(port=free_port())
    web(ready, receiver.port)
    for _ in range(2):
        nr("collect")
    waiting = nr("hook", "list", "--json").json[0]["waiting"]
    with apart.up(receiver):
        programs = [spawn("hook", "deliver", cwd=ready) for _ in range(2)]
        for program in programs:
            with program:
                program.communicate(timeout=60)
        nr("hook", "deliver")  # what one of them left to the other
    ids = [posted.headers["webhook-id"] for posted in receiver.posted]
    assert len(ids) == len(set(ids)) == waiting
    of_one = [
        posted.json["type"]
        for posted in receiver.posted
        if (posted.json["device"] or {}).get("name") == "closed"
    ]
    assert of_one == ["failed", "failed-again"]


@pytest.mark.usefixtures("short_goodbye")
def test_what_goes_wrong_with_hooks_shows_neither_key_nor_address(
    ready: Path, nr: Command, apart: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRAVEN_LOG__LEVEL", "debug")
    receiver = Receiver(reply=lambda _: "503 Busy")
    shown = ""
    with apart.up(receiver):
        web(ready, receiver.port)
        for words in (
            "collect --device r1",
            "hook list",
            "hook list --json",
            "hook deliver",
            "hook test chat",
        ):
            said = nr(*words.split())
            shown += said.out + said.err
    monkeypatch.delenv("HOOK_KEY")
    for words in ("hook deliver", "hook test chat --json"):
        said = nr(*words.split())
        shown += said.out + said.err
    assert "HTTP 503" in shown
    assert "HOOK_KEY" in shown
    for secret in (PATH, KEY.decode(), base64.b64encode(KEY).decode()):
        assert secret not in shown


# ---- the commands ----


def test_a_hook_can_be_tried(home: Path, nr: Command, apart: Apart) -> None:
    receiver = Receiver()
    with apart.up(receiver):
        web(home, receiver.port)
        said = nr("hook", "test", "chat")
        assert (said.code, said.out) == (0, f"http://127.0.0.1:{receiver.port} answered with HTTP 204\n")
        receiver.reply = lambda _: "401 Unauthorized"
        answer = nr("hook", "test", "chat", "--json")
    assert answer.code == 1
    assert (answer.json["delivered"], "HTTP 401" in answer.json["said"]) == (False, True)
    assert [posted.json["type"] for posted in receiver.posted] == ["test", "test"]
    assert all(posted.verified(KEY) for posted in receiver.posted)


def test_the_address_may_be_kept_elsewhere(
    home: Path, nr: Command, apart: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver()
    with apart.up(receiver):
        monkeypatch.setenv("CHAT_URL", receiver.url("/x"))
        web(home, 0, url="env:CHAT_URL")
        assert nr("hook", "test", "chat").code == 0
    assert receiver.posted[0].line == "POST /x HTTP/1.1"


@pytest.mark.usefixtures("short_goodbye")
def test_a_hook_that_settings_no_longer_name_is_listed_and_can_be_forgotten(ready: Path, nr: Command) -> None:
    before = (ready / "netraven.toml").read_text()
    web(ready, free_port(), name="old")
    nr("collect", "--device", "r1")
    assert "--force" in nr("hook", "forget", "old").err
    (ready / "netraven.toml").write_text(before)
    listed = nr("hook", "list")
    assert "not in settings" in listed.out
    assert "hook forget old" in listed.out
    assert nr("hook", "list", "--json").json[0]["type"] is None
    assert nr("hook", "deliver").code == 0  # nobody will ever take it
    assert nr("hook", "forget", "old").out == "dropped 2 events of old\n"
    assert nr("hook", "list").out.startswith("no hooks: ")


@pytest.mark.parametrize("words", ["hook test chta", "hook forget chta"])
def test_an_unknown_hook_is_answered_with_the_known_one(home: Path, nr: Command, words: str) -> None:
    web(home, 1)
    said = nr(*words.split())
    assert said.code == 2
    assert "there is no hook 'chta'" in said.err


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"type": "webhook", "url": "https://h:port/c4n4ry"}, "hooks.x.url: it is no URL"),
        (
            {"type": "command", "command": ["true"], "platforms": ["cisco_iosex"]},
            "hooks.x.platforms: unknown platform 'cisco_iosex', did you mean 'cisco_iosx",
        ),
        (
            {"type": "mail", "to": ["nobody"], "sender": "a@b", "smtp": "h"},
            "hooks.x.to: 'nobody' is no mail address",
        ),
        (
            {"type": "mail", "to": ["a@b"], "sender": "a@b", "smtp": "h:x"},
            "hooks.x.smtp: must be HOST or HOST:PORT",
        ),
    ],
)
def test_what_cannot_be_used_is_said_before_a_run(
    ready: Path, nr: Command, keys: dict[str, Any], said: str
) -> None:
    hook(ready, "x", **keys)
    for words in ("collect", "hook deliver"):
        answer = nr(*words.split())
        assert answer.code == 2
        assert said in answer.err
        assert "c4n4ry" not in answer.err


def test_a_trial_of_a_platform_file_is_told_to_nobody(ready: Path, nr: Command) -> None:
    hook(ready, "x", type="command", command=["true"], events=ALL)
    (ready / "mine.toml").write_text(MINE)
    assert nr("platform", "check", "mine.toml", "--device", "error").code == 1
    assert nr("hook", "list", "--json").json[0]["waiting"] == 0
