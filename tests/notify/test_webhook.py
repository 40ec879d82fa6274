"""Webhooks, posted to real servers."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from netraven.errors import SecretUnreadable
from netraven.notify.message import Answer
from netraven.notify.payload import body
from netraven.notify.webhook import LONGEST_HEAD, Reveal, Webhook, address_of, key_of, signature
from tests.notify.facts import UID, change, changed, event, message
from tests.notify.receivers import Posted, Receiver, Reply, certificate, receiving

KEY = b"c4n4ry-of-the-signing-key-000000"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
PATH_CANARY = "c4n4ry-in-the-path"
USER_CANARY = "c4n4ry-of-the-user"
QUERY_CANARY = "c4n4ry-in-the-query"
PATIENCE = 20.0


def giving(text: str) -> Reveal:
    async def reveal() -> str:
        return text

    return reveal


def webhook(url: str, secret: str | None = SECRET, timeout: float = PATIENCE) -> Webhook:
    return Webhook(giving(url), None if secret is None else giving(secret), timeout=timeout)


async def answer_to(reply: Callable[[Posted], Reply], path: str = "/") -> Answer:
    async with receiving(Receiver(reply=reply)) as receiver:
        return await webhook(receiver.url(path)).tell(changed())


# ---- what is sent ----


async def test_a_message_is_posted_and_signed() -> None:
    async with receiving() as receiver:
        answer = await webhook(receiver.url("/in/box?team=net")).tell(changed())
    assert answer == Answer(f"http://127.0.0.1:{receiver.port} answered with HTTP 204", delivered=True)
    (posted,) = receiver.posted
    assert posted.line == "POST /in/box?team=net HTTP/1.1"
    assert posted.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["webhook-id"] == UID == posted.json["id"]
    assert posted.verified(KEY)
    assert not posted.verified(KEY + b"!")


async def test_the_time_that_is_signed_is_that_of_the_try() -> None:
    at = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    async with receiving() as receiver:
        way = Webhook(giving(receiver.url()), giving(SECRET), timeout=PATIENCE, now=lambda: at)
        await way.tell(changed())
    assert receiver.posted[0].headers["webhook-timestamp"] == str(int(at.timestamp()))


def test_a_signature_is_the_one_of_the_specification() -> None:
    """The example of the Standard Webhooks specification's libraries."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    content = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, content) == expected


def test_a_key_is_base64_after_its_prefix_and_itself_without() -> None:
    assert key_of(SECRET) == KEY
    assert key_of("plain words") == b"plain words"
    with pytest.raises(ValueError, match="not base64"):
        key_of("whsec_***")


async def test_without_a_secret_nothing_is_signed() -> None:
    async with receiving() as receiver:
        await webhook(receiver.url(), secret=None).tell(message(event()))
    assert "webhook-signature" not in receiver.posted[0].headers


async def test_a_user_in_the_url_is_a_basic_login() -> None:
    async with receiving() as receiver:
        await webhook(f"http://bot:p%40ss@127.0.0.1:{receiver.port}/").tell(changed())
    assert receiver.posted[0].headers["authorization"] == "Basic " + base64.b64encode(b"bot:p@ss").decode()


async def test_a_megabyte_goes_through() -> None:
    whole = message(event(), changes=tuple(change(diff="+x\n" * 21_000) for _ in range(16)))
    async with receiving() as receiver:
        assert (await webhook(receiver.url()).tell(whole)).delivered
    assert receiver.posted[0].body == body(whole)
    assert len(receiver.posted[0].body) > 1_000_000


# ---- what comes back ----


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_success(status: int) -> None:
    assert (await answer_to(lambda _: f"{status} Fine")).delivered


@pytest.mark.parametrize("status", [400, 410, 413, 422])
async def test_what_no_repetition_mends(status: int) -> None:
    answer = await answer_to(lambda _: f"{status} No")
    assert (answer.delivered, answer.permanent) == (False, True)


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504])
async def test_what_may_be_mended(status: int) -> None:
    answer = await answer_to(lambda _: f"{status} Later")
    assert (answer.delivered, answer.permanent, str(status) in answer.said) == (False, False, True)


async def test_a_redirect_is_not_followed() -> None:
    async with receiving() as elsewhere:
        answer = await answer_to(lambda _: f"307 There\r\nLocation: {elsewhere.url()}")
    assert elsewhere.posted == []
    assert "redirects are not followed" in answer.said


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("Fri, 31 Dec 1999 23:59:59 GMT", 0), ("soon", None), ("-5", None), ("²", None)],
)
async def test_a_receiver_may_ask_to_be_left_alone(value: str, seconds: float | None) -> None:
    reply = f"HTTP/1.1 503 Busy\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n".encode()
    assert (await answer_to(lambda _: reply)).retry_after == seconds


async def test_answers_of_the_hundreds_are_not_the_answer_yet() -> None:
    assert (await answer_to(lambda _: b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")).delivered


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (None, "hung up without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * LONGEST_HEAD, "has no end"),
        (b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n", "does not speak HTTP"),
    ],
)
async def test_what_answers_badly_has_not_taken_it(reply: bytes | None, said: str) -> None:
    answer = await answer_to(lambda _: reply)
    assert (answer.delivered, answer.permanent) == (False, False)
    assert said in answer.said


async def test_an_answer_whose_body_has_no_end_is_taken_for_its_status() -> None:
    assert (await answer_to(lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000)).delivered


@pytest.mark.parametrize(
    ("reply", "delivered", "permanent"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True, False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", True, False),
        (b"HTTP/1.1 410 Gone\r\n\r\n", False, True),
    ],
)
async def test_a_receiver_that_answers_and_does_not_hang_up_has_answered(
    reply: bytes, delivered: bool, permanent: bool
) -> None:
    """Otherwise it would be sent the same again and again."""
    async with receiving(Receiver(reply=lambda _: reply, stay=asyncio.Event())) as receiver:
        answer = await webhook(receiver.url()).tell(changed())
    assert (answer.delivered, answer.permanent) == (delivered, permanent)


async def test_nobody_listens() -> None:
    async with receiving() as receiver:
        url = receiver.url()
    assert "nobody listens there" in (await webhook(url).tell(changed())).said


async def test_a_receiver_that_says_nothing_is_left_at_the_deadline() -> None:
    async with receiving(Receiver(hold=asyncio.Event())) as receiver:
        answer = await webhook(receiver.url(), timeout=0.1).tell(changed())
    assert answer.said == f"http://127.0.0.1:{receiver.port} did not answer within 0.1 s"


async def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, client = certificate(tmp_path)
    async with receiving(tls=server) as receiver:
        url = receiver.url(scheme="https")
        refused = await webhook(url).tell(changed())
        assert receiver.posted == []
        monkeypatch.setattr(ssl, "create_default_context", lambda: client)
        taken = await webhook(url).tell(changed())
    assert (refused.delivered, "a certificate that is not accepted" in refused.said) == (False, True)
    assert taken.delivered
    assert receiver.posted[0].verified(KEY)


async def test_a_receiver_that_does_not_speak_tls_gets_nothing() -> None:
    async with receiving() as receiver:
        answer = await webhook(receiver.url(scheme="https"), timeout=5).tell(changed())
    assert not answer.delivered
    assert receiver.posted == []


# ---- secrets ----


async def test_neither_url_nor_key_is_told_to_anybody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    for reply in ("204 Fine", "503 Busy", "400 No", "302 There", None):

        def echo(posted: Posted, reply: str | None = reply) -> Reply:
            return reply and f"{reply}\r\nX-Echo: {posted.line} {posted.headers}"

        async with receiving(Receiver(reply=echo)) as receiver:
            address = f"127.0.0.1:{receiver.port}/{PATH_CANARY}?token={QUERY_CANARY}"
            said.append(await webhook(f"http://bot:{USER_CANARY}@{address}").tell(changed()))
    said.append(await webhook(f"http://bot:{USER_CANARY}@127.0.0.1:1/{PATH_CANARY}").tell(changed()))
    said.append(await webhook(f"ftp://{USER_CANARY}/{PATH_CANARY}").tell(changed()))
    said.append(await webhook(f"http://x{PATH_CANARY}:port/").tell(changed()))
    said.append(await webhook("http://127.0.0.1:1/", secret=f"whsec_{USER_CANARY}*").tell(changed()))
    shown = f"{said} {[address_of(f'https://{USER_CANARY}@h/{PATH_CANARY}')]} {caplog.text}"
    for canary in (PATH_CANARY, USER_CANARY, QUERY_CANARY, KEY.decode(), SECRET):
        assert canary not in shown


async def test_a_secret_that_cannot_be_read_is_why_nothing_was_sent() -> None:
    async def unreadable() -> str:
        raise SecretUnreadable("hooks.chat.secret: variable HOOK is not set")

    async with receiving() as receiver:
        answer = await Webhook(giving(receiver.url()), unreadable, timeout=PATIENCE).tell(changed())
    assert answer == Answer("hooks.chat.secret: variable HOOK is not set")
    assert receiver.posted == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "chat.example.net/x",
        "ftp://h/",
        "https:///x",
        "https://h:port/",
        "https://h/a b",
        "https://h/\r\nX: y",
        "https://hé/",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - any words: the URL must not be among them
        address_of(url)
    assert not url or url not in str(caught.value)


def test_addresses() -> None:
    found = address_of("https://chat.example.net/hooks/a?b=c#d")
    assert (found.shown, found.port, found.target) == ("chat.example.net", 443, "/hooks/a?b=c")
    assert address_of("http://[::1]:8080").shown == "http://[::1]:8080"
    assert address_of("https://chat.example.net").target == "/"
