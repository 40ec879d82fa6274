"""Keyboard-interactive questions: a secret goes to its own question only, whatever else a server asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest

from netraven.model import Device, Target
from netraven.transport.challenge import Wants, wanted
from netraven.transport.ssh import SshTransport
from tests.transport.rig import PATIENT, NotedLogin, Visit, visit

PASSWORD = ("Password: ", False)
NEW = ("New password: ", False)


@asynccontextmanager
async def asking(*rounds: Sequence[tuple[str, bool]]) -> AsyncIterator[tuple[Target, list[str]]]:
    """A server that asks one round after the other, and refuses whoever answers all; and the answers."""
    answers: list[str] = []

    class Server(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return False

        def kbdint_auth_supported(self) -> bool:
            return True

        def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
            self.left = list(rounds)
            return "", "", "", list(self.left.pop(0))

        def validate_kbdint_response(self, username: str, responses: Any) -> Any:
            answers.extend(responses)
            return ("", "", "", list(self.left.pop(0))) if self.left else False

    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[key], gss_host=None)
    async with server:
        yield Target(Device("r1", "127.0.0.1", "cisco_iosxe", server.sockets[0].getsockname()[1])), answers


async def logged_in(target: Target) -> Visit:
    return await visit(SshTransport(PATIENT), target, NotedLogin("right", more=["second", "third"]))


@pytest.mark.parametrize(
    ("further", "detail"),
    [
        ([[NEW], [("Retype new password: ", False)]], "has expired"),
        ([[("(current) UNIX password: ", False)], [NEW]], "has expired"),
        ([[("Verification code: ", False)]], "asks for more than a password: 'Verification code:'"),
        ([[("Change now? ", True), ("Answer: ", False)]], "asks for more than a password"),
    ],
    ids=["new", "current", "code", "other"],
)
async def test_another_question_after_the_password_gets_no_secret_of_anybody(
    further: list[list[tuple[str, bool]]], detail: str
) -> None:
    async with asking([PASSWORD], *further) as (target, answers):
        result = await logged_in(target)
    assert answers == ["right"]
    assert result.told == ["secret", "rejected auth_refused"]
    assert detail in result.detail


@pytest.mark.parametrize("first", [[NEW], [("Enter your token code: ", False)], [PASSWORD, PASSWORD]])
async def test_a_first_question_that_is_not_for_the_password_is_sent_nothing(
    first: list[tuple[str, bool]],
) -> None:
    async with asking(first) as (target, answers):
        result = await logged_in(target)
    assert answers == []
    assert result.told == []
    assert result.reason == "negotiation"


async def test_the_same_question_again_is_a_refusal_and_gets_the_next_password() -> None:
    async with asking([PASSWORD], [PASSWORD]) as (target, answers):
        result = await logged_in(target)
    assert answers[:2] == ["right", "second"]
    assert result.told[:3] == ["secret", "rejected auth_refused", "another"]


@pytest.mark.parametrize(
    ("text", "wants"),
    [
        ("Password: ", Wants.OWN),
        ("(netops@r1) Password for netops: ", Wants.OWN),
        ("Enter PASSCODE: ", Wants.OWN),
        ("Kennwort: ", Wants.OWN),
        ("Login incorrect, try again\nPassword: ", Wants.OWN),
        ("Wrong password, try again: ", Wants.OWN),
        ("New password: ", Wants.CHANGE),
        ("Re-enter the password: ", Wants.CHANGE),
        ("Password (again): ", Wants.CHANGE),
        ("One-time code: ", Wants.OTHER),
        ("Response: ", Wants.OTHER),
    ],
)
def test_what_a_question_wants(text: str, wants: Wants) -> None:
    assert wanted([(text, False)]) is wants
