"""What reaches the log, and what does not."""

from __future__ import annotations

import io
import json
import logging

import pytest

from netraven.events import events
from netraven.log import configure
from netraven.model import Credential, Secret


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_event_with_fields() -> None:
    stream = io.StringIO()
    configure("info", "auto", stream)
    events("netraven.x").info("credential_refused", device="r1", tries=2)
    events("netraven.x").debug("not heard")
    (line,) = _lines(stream)
    assert (line["event"], line["level"], line["device"], line["tries"]) == (
        "credential_refused",
        "info",
        "r1",
        2,
    )
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize("format_", ["console", "json"])
def test_what_a_device_says_is_cleaned(format_: str) -> None:
    stream = io.StringIO()
    configure("debug", format_, stream)
    log = events("netraven.test")
    log.info(
        "x\x1b[2J",
        banner="a\x1b]0;t\x07\nb",
        nested={"k": ["\x9b5n"]},
        raw=b"\x1b",
        error=ValueError("\x1b[31m"),
    )
    logging.getLogger("asyncssh").warning("said %s", "\x1b]0;t\x07")
    try:
        raise ValueError("\x1b[31mred")
    except ValueError:
        log.exception("fault")
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\x9b" not in text
    assert "Traceback" in text


def test_no_field_that_is_named_like_a_secret_is_printed() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream)
    word = "c4n4ry"
    events("netraven.test").warning(
        "x",
        password=word,
        enable_password=word,
        data={"private_key": word},
        held=Secret(password=word, private_key=word, enable=word),
        credential=Credential("c", "u", word, enable_password=word),
        secret_version=3,
    )
    assert word not in stream.getvalue()
    assert _lines(stream)[0]["secret_version"] == 3


def test_a_traceback_shows_no_variables() -> None:
    stream = io.StringIO()
    configure("debug", "console", stream)
    hidden = "c4n4ry"
    try:
        raise RuntimeError(f"of length {len(hidden)}")
    except RuntimeError:
        events("netraven.test").exception("fault")
    assert "RuntimeError" in stream.getvalue()
    assert "c4n4ry" not in stream.getvalue().replace('hidden = "c4n4ry"', "")


@pytest.mark.parametrize(
    "name", ["asyncssh", "asyncssh.sftp", "scrapli.channel", "sqlalchemy.engine.Engine", "aiosqlite"]
)
def test_third_parties_never_speak_at_debug(name: str) -> None:
    stream = io.StringIO()
    configure("debug", "json", stream)
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.DEBUG)  # as the library's user might
    try:
        logger.debug("write: 'c4n4ry'")
        assert stream.getvalue() == ""
        logger.warning("heard")
        assert _lines(stream)[0]["event"] == "heard"
    finally:
        logger.setLevel(before)


def test_scrapli_never_says_what_it_sends() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream)
    logging.getLogger("scrapli.channel").info("sending interactive input: c4n4ry")
    assert stream.getvalue() == ""


def test_third_parties_are_heard_from_warning_on() -> None:
    stream = io.StringIO()
    configure("warning", "json", stream)
    logging.getLogger("asyncssh").info("not heard")
    logging.getLogger("elsewhere").info("not heard")
    logging.getLogger("elsewhere").error("heard")
    (line,) = _lines(stream)
    assert (line["event"], line["logger"]) == ("heard", "elsewhere")


@pytest.mark.parametrize(("level", "heard"), [("info", 0), ("debug", 1)])
def test_what_asyncssh_says_of_each_login_is_heard_at_debug_only(level: str, heard: int) -> None:
    stream = io.StringIO()
    configure(level, "json", stream)
    logging.getLogger("asyncssh").info("Auth for user %s succeeded", "x")
    events("netraven.test").info("ours")
    assert [line["event"] for line in _lines(stream)] == ["Auth for user x succeeded", "ours"][1 - heard :]


def test_configured_twice_it_speaks_once() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    configure("info", "json", stream)
    logging.getLogger("x").error("once")
    assert len(_lines(stream)) == 1


def test_a_reader_that_has_gone_is_no_error() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    stream.close()
    events("netraven.test").warning("nobody listens")
