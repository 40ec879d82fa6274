"""Mails, and how they are handed to a real mail server."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from netraven.errors import SecretUnreadable
from netraven.model import EventKind
from netraven.notify.letter import LONGEST, MOST_NAMED, letter
from netraven.notify.mail import Mail, Server, address_of, server_of
from netraven.notify.message import Answer
from tests.notify.facts import AT, UID, change, changed, end, event, failure, message
from tests.notify.receivers import MailServer, certificate, taking_mail

PASSWORD = "c4n4ry-of-the-mail"
PATIENCE = 20.0


def mail(server: MailServer, security: str = "none", username: str = "", **fields: Any) -> Mail:
    async def password() -> str:
        return PASSWORD

    given: dict[str, Any] = {
        "sender": "NetRaven <raven@example.net>",
        "to": ["net@example.net", "Night Shift <night@example.net>"],
        "timeout": PATIENCE,
        "password": password if username else None,
        "now": lambda: AT,
    } | fields
    return Mail(Server("127.0.0.1", server.port, security, username), **given)


# ---- handing it over ----


async def test_a_mail_arrives_with_its_headers() -> None:
    async with taking_mail() as server:
        answer = await mail(server).tell(changed())
    assert answer == Answer(f"127.0.0.1:{server.port} took the mail", delivered=True)
    (got,) = server.mails
    assert server.envelopes == [("raven@example.net", ("net@example.net", "night@example.net"))]
    assert got["From"] == "NetRaven <raven@example.net>"
    assert got["To"] == "net@example.net, Night Shift <night@example.net>"
    assert got["Subject"] == "NetRaven: r1 changed"
    assert got["Message-ID"] == f"<{UID}@example.net>"
    assert got["Auto-Submitted"] == "auto-generated"
    assert parsedate_to_datetime(got["Date"]) == AT.replace(microsecond=0)
    assert (got.get_content_type(), got.get_content_charset()) == ("text/plain", "utf-8")
    assert got.get_content().replace("\r\n", "\n") == letter(changed()).text


async def test_a_mail_that_is_sent_again_has_the_same_id() -> None:
    async with taking_mail() as server:
        for _ in range(2):
            await mail(server).tell(changed())
    assert len({got["Message-ID"] for got in server.mails}) == 1


async def test_text_of_every_kind_comes_through() -> None:
    lines = "+.\n+.hidden\n+Zürich ☂ \U0001f409\n+" + "x" * 5_000 + "\n"
    async with taking_mail() as server:
        await mail(server).tell(changed(diff=lines))
    assert lines in server.mails[0].get_content().replace("\r\n", "\n")
    assert max(len(line) for line in server.raw[0].split(b"\r\n")) <= 998  # RFC 5322, section 2.1.1


async def test_a_password_goes_only_over_tls(tmp_path: Path) -> None:
    tls, client = certificate(tmp_path)
    users = {"raven": PASSWORD}
    async with taking_mail(MailServer(tls=tls, users=users)) as server:
        assert (await mail(server, "starttls", "raven", tls=lambda: client).tell(changed())).delivered
    assert server.encrypted == [True]
    async with taking_mail(MailServer(users=users), tls=tls) as server:
        assert (await mail(server, "tls", "raven", tls=lambda: client).tell(changed())).delivered


async def test_a_server_without_starttls_gets_nothing() -> None:
    async with taking_mail(MailServer(users={"raven": PASSWORD})) as server:
        answer = await mail(server, "starttls", "raven").tell(changed())
    assert (answer.delivered, "does not offer what settings ask for" in answer.said) == (False, True)
    assert server.mails == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_is_verified(tmp_path: Path, security: str) -> None:
    tls, _ = certificate(tmp_path)
    starttls = security == "starttls"
    async with taking_mail(
        MailServer(tls=tls if starttls else None), tls=None if starttls else tls
    ) as server:
        answer = await mail(server, security).tell(changed())
    assert (answer.delivered, "certificate that is not accepted" in answer.said) == (False, True)
    assert server.mails == []


async def test_neither_password_nor_what_repeats_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tls, client = certificate(tmp_path)
    async with taking_mail(MailServer(tls=tls, users={"raven": "another"})) as server:
        way = mail(server, "starttls", "raven", tls=lambda: client)
        answer = await way.tell(changed())
    assert answer.said == f"127.0.0.1:{server.port} does not let raven log in (535)"
    assert PASSWORD not in f"{answer}{way!r}{caplog.text}"


@pytest.mark.parametrize(
    ("refuse", "said", "permanent"),
    [
        ({"MAIL": "451 later\x1b[2J"}, "said 451 later\\x1b[2J", False),
        ({"RCPT": "550 nobody here"}, "refuses the recipients: 550 nobody here", False),
        ({"DATA": "554 no"}, "said 554 no", False),
        ({"DATA": "552 too large"}, "said 552 too large", True),
        ({"EHLO": "421 busy", "HELO": "421 busy"}, "421 busy", False),
    ],
)
async def test_what_a_server_refuses(refuse: dict[str, str], said: str, permanent: bool) -> None:
    async with taking_mail(MailServer(refuse=refuse)) as server:
        answer = await mail(server).tell(changed())
    assert (answer.delivered, answer.permanent) == (False, permanent)
    assert said in answer.said


async def test_a_mail_that_some_recipients_get_is_delivered() -> None:
    """Sending it again would have the others get it twice."""
    async with taking_mail(MailServer(refuse={"RCPT TO:<night@": "550 asleep"})) as server:
        answer = await mail(server).tell(changed())
    assert (answer.delivered, "but not for night@example.net" in answer.said) == (True, True)


@pytest.mark.parametrize("verb", ["EHLO", "RCPT", "DATA"])
async def test_a_server_that_falls_silent_is_left_at_the_deadline(verb: str) -> None:
    async with taking_mail(MailServer(silent_on=verb)) as server:
        answer = await mail(server, timeout=0.3).tell(changed())
        async with asyncio.timeout(PATIENCE):  # the connection is closed, so the server sees its end
            while server.talks:  # noqa: ASYNC110 - nobody sets an event there
                await asyncio.sleep(0.01)
    assert answer.delivered is False
    assert server.mails == []


async def test_a_server_that_says_no_goodbye_has_the_mail() -> None:
    async with taking_mail(MailServer(silent_on="QUIT")) as server:
        assert (await mail(server, timeout=2.0).tell(changed())).delivered
    assert len(server.mails) == 1


async def test_nobody_listens() -> None:
    async with taking_mail() as server:
        pass
    assert "Connection refused" in (await mail(server).tell(changed())).said


async def test_a_password_that_cannot_be_read_is_why_nothing_was_sent() -> None:
    async def unreadable() -> str:
        raise SecretUnreadable("hooks.night.password: no such file")

    async with taking_mail() as server:
        answer = await mail(server, username="raven", password=unreadable).tell(changed())
    assert (answer.said, server.mails) == ("hooks.night.password: no such file", [])


async def test_no_name_can_add_a_header() -> None:
    device = "r1\r\nBcc: everybody@example.net\r\n\r\nhello"
    async with taking_mail() as server:
        assert (await mail(server).tell(message(event(device=device)))).delivered
    (got,) = server.mails
    assert got["Bcc"] is None
    assert got["Subject"] == "NetRaven: r1 / Bcc: everybody@example.net / hello changed"


@pytest.mark.parametrize(
    "word", ["=?utf-8?q?=0ABcc=3A_c@d?=", "=?utf-8?b?CkJjYzogY0Bk?=", "=?utf-8?q?=0D=0A=0D=0Ahello?="]
)
async def test_no_name_is_decoded(word: str) -> None:
    """Python writes out what an encoded word in a subject hides, or (since 3.11.10) refuses to write it."""
    async with taking_mail() as server:
        assert (await mail(server).tell(message(event(device=word)))).delivered
    (got,) = server.mails
    assert got["Bcc"] is None
    assert got["Subject"] == f"NetRaven: {word.replace('=?', '= ?')} changed"


# ---- what is written ----


def test_the_mail_of_a_run() -> None:
    parts = (
        changed(),
        message(event(EventKind.FIRST_SEEN, "r9"), changes=(change(number=1, previous=None, diff=""),)),
        failure(),
        failure(EventKind.FAILED_AGAIN, "r3"),
        message(event(EventKind.RECOVERED, "r4")),
    )
    written = letter(end(*parts))
    assert written.subject == "NetRaven: run 7: 1 changed, 1 new, 1 failed, 1 failed again, 1 back"
    assert (
        written.text
        == """\
Run 7 ended at 2026-11-22 03:00:07 UTC: partial.
3 devices: 2 collected, 1 failed, 0 skipped.

Changed (1)
  r1 (cisco_iosxe; edge, lab): running 4 -> 5, +1 -1

Seen for the first time (1)
  r9 (cisco_iosxe; edge, lab): running version 1

Failed, and had not the time before (1)
  r2 (cisco_iosxe; edge, lab): unreachable: no route

Failed again (1)
  r3 (cisco_iosxe; edge, lab): unreachable: no route

Back again (1)
  r4 (cisco_iosxe; edge, lab)


--- r1: running 4 -> 5, +1 -1 --------------------
--- running 4
+++ running 5
@@ -1,2 +1,2 @@ interface Vlan1
 hostname r1
-mtu 1500
+mtu 9000
"""
    )


def test_devices_that_failed_and_are_not_asked_for_are_counted() -> None:
    """By default a mail tells of those that failed again; its first lines count all."""
    written = letter(end(changed()))
    assert "1 failed, 0 skipped." in written.text
    assert "Failed, and not asked for by this hook: 1 (netraven run show 7)" in written.text
    assert "nothing to tell" not in letter(end()).text
    assert "not asked for" not in letter(end(failure())).text
    assert "not asked for" not in letter(replace(end(), more=True)).text


def test_a_run_of_which_there_is_nothing_to_tell() -> None:
    said = end()
    assert said.event is not None
    counts = {"devices": 3, "collected": 3, "failed": 0, "skipped": 0}
    written = letter(replace(said, event=replace(said.event, data={"status": "partial", "counts": counts})))
    assert written.subject == "NetRaven: run 7: partial"
    assert written.text.endswith("There is nothing to tell of single devices.\n")


def test_the_mail_of_one_event() -> None:
    assert letter(failure(EventKind.FAILED_AGAIN)).subject == "NetRaven: r2 could not be collected again"
    assert "unreachable: no route" in letter(failure()).text
    assert letter(message(None)).subject == "NetRaven: a test"


def test_many_devices_are_counted_and_not_all_named() -> None:
    written = letter(end(*(failure(device=f"r{n}") for n in range(MOST_NAMED + 5)), more=True))
    assert "Failed, and had not the time before (205)" in written.text
    assert "  and 5 more" in written.text
    assert "There is more than this mail has room for: netraven run show 7" in written.text


def test_long_differences_are_cut_and_the_mail_has_an_end() -> None:
    long = change(diff="+" + "x" * 98 + "\n")
    written = letter(
        end(*(message(event(device=f"r{n}"), changes=(change(diff=long.diff * 1_000),)) for n in range(20)))
    )
    assert "345 more lines: netraven config diff r0 4 5 --kind running]" in written.text
    assert "more differences are left out: this mail is long enough]" in written.text
    assert len(written.text) < LONGEST + 10_000


def test_what_a_device_says_is_harmless() -> None:
    written = letter(end(changed(diff="+banner \x1b[2J\u202e\n")))
    assert "+banner \\x1b[2J\\u202e" in written.text


# ---- settings ----


@pytest.mark.parametrize(
    ("smtp", "security", "host", "port"),
    [
        ("mail.example.net", "starttls", "mail.example.net", 587),
        ("mail.example.net", "tls", "mail.example.net", 465),
        ("mail.example.net:2525", "none", "mail.example.net", 2525),
        ("127.0.0.1", "none", "127.0.0.1", 25),
        ("[2001:db8::1]:25", "none", "2001:db8::1", 25),
        ("2001:db8::1", "none", "2001:db8::1", 25),
        ("[2001:db8::1]", "tls", "2001:db8::1", 465),
    ],
)
def test_servers(smtp: str, security: str, host: str, port: int) -> None:
    found = server_of(smtp, security)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    "smtp", ["", ":25", "host:", "host:0", "host:70000", "host:smtp", "a host", "h\r\nQUIT"]
)
def test_what_is_no_server(smtp: str) -> None:
    with pytest.raises(ValueError, match="HOST or HOST:PORT"):
        server_of(smtp, "none")


@pytest.mark.parametrize(
    "text", ["", "nobody", "@h", "a@", "a@b\r\nBcc: c@d", "a b@c", "zoë@h", "=?utf-8?q?=0A?= <a@b>"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="no mail address"):
        address_of(text)


def test_tls_is_verified_unless_a_test_says_otherwise() -> None:
    context = ssl.create_default_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    way = Mail(Server("h", 25, "tls"), "a@b", ["c@d"], timeout=1)
    assert way._tls is ssl.create_default_context


# ---- what is no collection ----


def stale(*devices: dict[str, Any], count: int | None = None, hours: float = 24) -> Any:
    data = {
        "older_than_s": hours * 3600,
        "count": len(devices) if count is None else count,
        "devices": devices,
    }
    return message(event(EventKind.STALE, None, data=data, platform="", tags=frozenset()), uid="of-stale")


OLD = {
    "name": "r1",
    "platform": "cisco_iosxe",
    "tags": ["edge"],
    "collected_at": "2026-11-20T03:00:00+00:00",
    "tried_at": "2026-11-22T03:00:00+00:00",
    "reason": "unreachable",
}
NEVER = {**OLD, "name": "a-longer-name", "collected_at": None, "tried_at": None, "reason": None}


def test_stale_devices_are_a_plain_table() -> None:
    said = letter(stale(NEVER, OLD))
    assert said.subject == "NetRaven: 2 devices not collected within 24 h"
    assert said.text == (
        "2 devices not collected within 24 h:\n\n"
        "device         platform     collected (UTC)   tried (UTC)       reason\n"
        "a-longer-name  cisco_iosxe  never             never\n"
        "r1             cisco_iosxe  2026-11-20 03:00  2026-11-22 03:00  unreachable\n"
    )
    assert letter(stale(OLD, hours=72)).subject == "NetRaven: 1 device not collected within 3 days"


def test_a_long_table_has_an_end() -> None:
    said = letter(stale(*[OLD] * (MOST_NAMED + 1), count=5000)).text
    assert said.count("unreachable") == MOST_NAMED
    assert said.endswith(f"and {5000 - MOST_NAMED:,} more: netraven report stale\n")


def test_names_of_stale_devices_are_made_harmless() -> None:
    evil = "r1\x1b]0;title\x07\n\u202e"
    said = letter(stale({**OLD, "name": evil, "reason": evil, "platform": evil, "tried_at": evil}))
    assert all(sign.isprintable() or sign == "\n" for sign in said.text)
    assert len(said.text.splitlines()) == 4


def of_kind(what: str, *parts: Any) -> Any:
    whole = end(*parts)
    assert whole.event is not None
    return replace(whole, event=replace(whole.event, data={**whole.event.data, "what": what}))


def test_the_digest_of_a_report_holds_its_table() -> None:
    said = letter(of_kind("stale-report", stale(OLD)))
    assert said.subject == "NetRaven: run 7: 1 device not collected within 24 h"
    assert said.text.startswith("Run 7 (a report of stale devices) ended at ")
    assert "r1" in said.text
    assert "collected," not in said.text, "nothing was to be collected"


def test_a_prune_has_no_devices() -> None:
    said = letter(of_kind("prune"))
    assert said.text.splitlines()[0].startswith("Run 7 (a prune) ended at ")
    assert "devices" not in said.text


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("reachability", EventKind.FAILED, "could not be reached"),
        ("reachability", EventKind.RECOVERED, "is reachable again"),
        ("credentials", EventKind.FAILED_AGAIN, "did not open again"),
        ("credentials", EventKind.RECOVERED, "opens again"),
        ("configuration", EventKind.FAILED, "could not be collected"),
        ("something of tomorrow", EventKind.FAILED, "could not be collected"),
    ],
)
def test_a_check_says_what_it_was(what: str, kind: EventKind, words: str) -> None:
    said = letter(message(event(kind, "r2", data={"what": what, "reason": "unreachable"})))
    assert said.subject == f"NetRaven: r2 {words}"


def test_the_end_of_a_check_counts_what_it_found() -> None:
    said = letter(of_kind("reachability", failure(EventKind.FAILED_AGAIN)))
    assert "Run 7 (a check of reachability) ended at " in said.text
    assert "3 devices: 2 reachable, 1 failed, 0 skipped." in said.text
