"""A server that speaks the part of HashiCorp Vault's HTTP API that NetRaven uses: AppRole, and KV version 2."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up in the middle is no trouble, and its traceback would stand in another test's output."""


class VaultServer:
    """What it holds and how it is can be changed while it runs. ``requests`` is what it was asked."""

    def __init__(self) -> None:
        self.tokens: set[str] = set()
        self.secrets: dict[str, dict[str, Any]] = {}
        """By path, with the mount: ``secret/network/tacacs``."""
        self.deleted: set[str] = set()
        self.roles: dict[str, str] = {}
        self.namespace: str | None = None
        self.sealed = False
        self.delay = 0.0
        self.garbage = b""
        self.requests: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def do_POST(self) -> None:
                server.answer(self)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[VaultServer]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def token(self) -> str:
        token = f"hvs.canary-{uuid.uuid4().hex}"
        self.tokens.add(token)
        return token

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(f"{request.command} {request.path}")
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        time.sleep(self.delay)
        code, said = self._say(request, body)
        data = self.garbage or json.dumps(said).encode()
        request.send_response(code)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _say(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Any]:
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if self.namespace is not None and request.headers.get("X-Vault-Namespace") != self.namespace:
            return 404, {"errors": ["no handler for route"]}
        path = request.path.removeprefix("/v1/")
        if path == "auth/approle/login":
            given = json.loads(body)
            if self.roles.get(given["role_id"]) != given["secret_id"]:
                return 400, {"errors": [f"invalid secret id {given['secret_id']}"]}
            return 200, {"auth": {"client_token": self.token(), "lease_duration": 3600}}
        if (token := request.headers.get("X-Vault-Token")) not in self.tokens:
            return 403, {"errors": [f"permission denied for {token}"]}
        mount, _, below = path.partition("/data/")
        where = f"{mount}/{below.partition('?')[0]}"
        if where in self.deleted:
            return 404, {"data": {"data": None, "metadata": {"deletion_time": "2026-01-01T00:00:00Z"}}}
        if where not in self.secrets:
            return 404, {"errors": []}
        return 200, {"data": {"data": self.secrets[where], "metadata": {"version": 1}}}
