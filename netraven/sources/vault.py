"""``vault:PATH#FIELD``: a field of a secret in a KV v2 engine of HashiCorp Vault, read through hvac.

hvac blocks, so each secret is read in a thread of its own. Its exceptions hold requests, and those hold tokens: none
of them leaves this module, not even as the cause of another.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from netraven.aside import aside
from netraven.credentials.source import VaultField
from netraven.errors import SecretUnreadable
from netraven.model import Secret
from netraven.plain import plain_line
from netraven.sources.text import LARGEST, secret_in

MISSING = "Vault is asked through hvac, which is not installed here: pip install 'netraven[vault]'"


@dataclass(frozen=True, slots=True)
class VaultAccess:
    """Where Vault is and how to log in. What is empty comes from the environment (VAULT_ADDR, VAULT_TOKEN ...)."""

    url: str = ""
    mount: str = "secret"
    namespace: str = ""
    token_file: Path | None = None
    role_id: str = ""
    secret_id_file: Path | None = None
    timeout: float = 10.0


class VaultSource:
    def __init__(self, access: VaultAccess, environ: Mapping[str, str]) -> None:
        self._access = access
        self._url = access.url or environ.get("VAULT_ADDR", "")
        self._namespace = access.namespace or environ.get("VAULT_NAMESPACE", "")
        self._environ = environ
        self._role_token: str | None = None
        self._logging_in = asyncio.Lock()

    async def read(self, place: VaultField) -> Secret:
        if not self._url:
            raise SecretUnreadable("no Vault is set: `[vault] url` or $VAULT_ADDR says where it is")
        access = self._access
        limit = access.timeout
        try:
            async with asyncio.timeout(limit):
                answer = await self._ask(place, await self._token())
                if answer.denied and access.role_id:  # the token has come to its end: log in again, once
                    self._role_token = None
                    answer = await self._ask(place, await self._token())
        except TimeoutError:
            raise SecretUnreadable(
                f"Vault at {self._url} did not answer within {limit:g} s (`[vault] timeout`): is it up, and is the way "
                "to it open?"
            ) from None
        if answer.problem:
            raise SecretUnreadable(answer.problem)
        return self._field(place, answer.value)

    async def _ask(self, place: VaultField, token: str) -> _Answer:
        work = partial(self._get, place, token)
        return await aside(work, timeout=self._access.timeout, name="netraven-vault")

    def _field(self, place: VaultField, fields: Any) -> Secret:
        where = f"{self._access.mount}/{place.path}"
        if not isinstance(fields, dict) or place.field not in fields:
            raise SecretUnreadable(
                f"{where} in Vault has no field {place.field!r}: name one of its fields after the path, as in "
                f"vault:{place.path}#FIELD"
            )
        value = fields[place.field]
        if not isinstance(value, str):
            raise SecretUnreadable(f"the field {place.field!r} of {where} in Vault is not a text")
        return secret_in(
            value.encode("utf-8", "surrogatepass"), f"the field {place.field!r} of {where} in Vault"
        )

    # ---- logging in ----

    async def _token(self) -> str:
        access = self._access
        if access.token_file is not None:
            return await self._text(access.token_file, "[vault] token_file")
        if access.role_id and access.secret_id_file is not None:
            async with self._logging_in:
                if self._role_token is None:
                    secret_id = await self._text(access.secret_id_file, "[vault] secret_id_file")
                    answer = await aside(
                        partial(self._log_in, secret_id), timeout=access.timeout, name="netraven-vault"
                    )
                    if answer.problem:
                        raise SecretUnreadable(answer.problem)
                    self._role_token = str(answer.value)
                return self._role_token
        if token := self._environ.get("VAULT_TOKEN"):
            return token
        raise SecretUnreadable(
            "there is no way to log in to Vault: set `[vault] token_file`, or role_id and secret_id_file, or "
            "$VAULT_TOKEN"
        )

    async def _text(self, path: Path, what: str) -> str:
        data = await aside(partial(_content, path), timeout=self._access.timeout, name="netraven-vault-file")
        if isinstance(data, str):
            raise SecretUnreadable(f"{what}: {data}")
        password = secret_in(data, f"{what}, {path},").password
        if password is None:
            raise SecretUnreadable(f"{what}: {path} holds a private key")
        return password.strip()

    # ---- in a thread: no exception comes out of here ----

    def _get(self, place: VaultField, token: str) -> _Answer:
        def call(client: Any) -> Any:
            answer = client.secrets.kv.v2.read_secret_version(
                path=place.path, mount_point=self._access.mount, raise_on_deleted_version=True
            )
            return answer["data"]["data"]

        return self._called(call, token, f"{self._access.mount}/{place.path}")

    def _log_in(self, secret_id: str) -> _Answer:
        def call(client: Any) -> Any:
            answer = client.auth.approle.login(
                role_id=self._access.role_id, secret_id=secret_id, use_token=False
            )
            return answer["auth"]["client_token"]

        return self._called(call, "", None)

    def _called(self, call: Callable[[Any], Any], token: str, where: str | None) -> _Answer:
        """``where``: the secret that is read; None while logging in."""
        try:
            hvac = importlib.import_module("hvac")
        except ImportError:
            return _Answer(MISSING)
        try:
            client = hvac.Client(
                url=self._url,
                token=token,
                namespace=self._namespace or None,
                timeout=self._access.timeout,
            )
            try:
                return _Answer(value=call(client))
            finally:
                client.adapter.close()
        except Exception as error:  # noqa: BLE001 - hvac's, requests' and urllib3's; only their kind is looked at
            return _Answer(self._problem(type(error), where), denied=type(error).__name__ == "Forbidden")

    def _problem(self, kind: type[Exception], where: str | None) -> str:
        """What to do about an exception of this class, whose text may hold anything."""
        said = _LOGGING_IN if where is None else _READING
        for ancestor in kind.__mro__:
            if ancestor.__name__ in said:
                break
        text = said.get(ancestor.__name__, f"Vault at {{url}} cannot be asked ({kind.__name__})")
        return text.format(url=plain_line(self._url), where=where, mount=self._access.mount)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What Vault said, or what to do about it."""

    problem: str = ""
    value: Any = None
    denied: bool = False

    def __repr__(self) -> str:
        return f"<answer of Vault: {self.problem or 'a value'}>"


_ANYTIME = {
    "VaultDown": "Vault at {url} is sealed, or not ready: unseal it (`vault operator unseal`)",
    "SSLError": "Vault at {url} shows no certificate that is trusted here: $REQUESTS_CA_BUNDLE names an authority",
    "Timeout": "Vault at {url} did not answer in time (`[vault] timeout`): is it up, and is the way to it open?",
    "ConnectionError": "Vault at {url} cannot be reached: is it up, is `[vault] url` right, is the way to it open?",
    "RateLimitExceeded": "Vault at {url} is asked too often (429): raise its quota, or `[secrets] cache_seconds`",
    "InternalServerError": "Vault at {url} reports a fault of its own (500): its log says which",
    "BadGateway": "Vault at {url} cannot be reached behind its gateway (502)",
    "InvalidURL": "Vault cannot be asked: {url} is no URL",
    "LocationParseError": "Vault cannot be asked: {url} is no URL",
}
_READING = {
    **_ANYTIME,
    "Forbidden": "Vault at {url} denies reading {where} (403): has the token expired, and does its policy allow "
    "`read` on {mount}/data/...?",
    "Unauthorized": "Vault at {url} does not know the token (401): renew it",
    "InvalidPath": "there is nothing at {where} in Vault at {url} (404), or it was deleted: the path goes without the "
    "engine's mount (`[vault] mount`, {mount!r}) and without `data/`",
    "InvalidRequest": "Vault at {url} does not take the request for {where} (400): is {mount!r} a KV engine of "
    "version 2?",
}
_LOGGING_IN = {
    **_ANYTIME,
    "Forbidden": "Vault at {url} denies the AppRole login (403): are role_id and the secret id right?",
    "InvalidRequest": "Vault at {url} refuses the AppRole login (400): is the secret id right, and has it expired?",
    "InvalidPath": "Vault at {url} knows no AppRole (404): is it enabled, at the mount `approle`?",
}


def _content(path: Path) -> bytes | str:
    """A file's content, or (a text) why there is none."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
