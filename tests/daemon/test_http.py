"""The daemon's port, asked by a real client."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netraven.daemon.http import Address, Views, address_of, answering
from netraven.daemon.metrics import Metrics
from netraven.errors import InputError, SettingsError

HERE = Address("127.0.0.1", 0)


async def ask(port: int, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    def fetch() -> tuple[int, str, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers["content-type"], answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["content-type"], error.read()

    return await asyncio.to_thread(fetch)


class Life:
    """What the views say, as a test wants it."""

    def __init__(self) -> None:
        self.alive: list[str] = []
        self.ready: list[str] = []
        self.metrics = Metrics("1.2.3")

    @property
    def views(self) -> Views:
        return Views(lambda: self.alive, lambda: self.ready, self.metrics.exposition)


async def test_alive_and_ready_with_the_reasons_why_not() -> None:
    life = Life()
    async with answering(HERE, life.views) as port:
        status, kind, body = await ask(port, "/healthz")
        assert (status, kind, json.loads(body)) == (200, "application/json", {"alive": True, "why": []})
        assert json.loads((await ask(port, "/readyz"))[2]) == {"ready": True, "why": []}
        life.ready = ["the database cannot be reached\x1b[2J"]
        life.alive = ["the scheduler stands still"]
        status, _, body = await ask(port, "/readyz")
        assert status == 503
        assert json.loads(body) == {"ready": False, "why": ["the database cannot be reached\\x1b[2J"]}
        assert (await ask(port, "/healthz"))[0] == 503


async def test_metrics_are_what_prometheus_reads() -> None:
    life = Life()
    life.metrics.sessions.set(7)
    async with answering(HERE, life.views) as port:
        status, kind, body = await ask(port, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert families["netraven_sessions_open"].samples[0].value == 7
    assert families["netraven_build_info"].samples[0].labels == {"version": "1.2.3"}
    assert "process_open_fds" in families


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/metrics/", "GET", 404), ("/metrics", "POST", 405), ("/healthz", "HEAD", 200)],
)
async def test_nothing_else_is_there(path: str, method: str, status: int) -> None:
    async with answering(HERE, Life().views) as port:
        found, _, body = await ask(port, path, method)
    assert found == status
    assert (body == b"") == (method == "HEAD")


async def test_bytes_that_are_no_http_end_nothing() -> None:
    async with answering(HERE, Life().views) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b"400" in await reader.read()
        writer.close()
        await writer.wait_closed()
        assert (await ask(port, "/healthz"))[0] == 200


async def test_an_idle_client_does_not_hold_up_the_end() -> None:
    async with asyncio.timeout(10):
        async with answering(HERE, Life().views) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HT")
            await writer.drain()
        writer.close()


async def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{port}: another program listens"):
            async with answering(Address("127.0.0.1", port), Life().views):
                pass


async def test_a_name_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"daemon\.listen: nowhere\.invalid is no address here"):
        async with answering(Address("nowhere.invalid", 9180), Life().views):
            pass


@pytest.mark.parametrize("listen", ["127.0.0.1:9180", "[::1]:9180", "localhost:0", "127.8.8.8:1"])
def test_this_machine_may_connect(listen: str) -> None:
    address = address_of(listen)
    assert address is not None
    assert address.loopback
    assert address.shown == listen


def test_nothing_listens() -> None:
    assert address_of("") is None


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:9180", "[::]:9180", "192.0.2.1:9180", "monitor.example.net:9180"]
)
def test_others_may_connect_only_where_that_is_wanted(listen: str) -> None:
    with pytest.raises(SettingsError, match="listen_anywhere = true"):
        address_of(listen)
    assert address_of(listen, anywhere=True) is not None


@pytest.mark.parametrize("listen", ["9180", ":9180", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", "::1"])
def test_what_is_no_address(listen: str) -> None:
    with pytest.raises(SettingsError, match="is no address"):
        address_of(listen, anywhere=True)
