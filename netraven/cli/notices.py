"""What a run noticed that a person should know, in sentences: as it happens, and in the report afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from netraven.plain import plain_line

_GIT = ("git_export_failed", "git_export_incomplete", "git_push_failed")
STANDING = ("host_keys_off", "telnet_clear_text", *_GIT)
"""What is noticed at the end of every run, until somebody changes it: said once, when all is over."""
EVENTS = ("realm_paused", "realm_resumed", "credential_held", "jump_host_unreachable", *STANDING)
"""Lines of a run's log that tell it."""


def said(event: str, data: Mapping[str, Any], at: datetime) -> str | None:
    """The sentence for an event that has just happened; None for one that says nothing to a person."""
    if event == "realm_paused":
        realm, until = plain_line(str(data["realm"])), _clock(_moment(data["until"]), near=at)
        if data.get("tries"):
            return f"realm {realm} is still unwell, paused until {until} UTC"
        return f"realm {realm} looks unwell: {plain_line(str(data['why']))}, paused until {until} UTC"
    if event == "realm_resumed":
        return f"realm {plain_line(str(data['realm']))} is well again"
    if event == "credential_held":
        until = _clock(at + timedelta(seconds=float(data["seconds"])), near=at)
        why = plain_line(str(data["why"]))
        return f"credential {plain_line(str(data['credential']))} is held until {until} UTC: {why}"
    if event == "jump_host_unreachable":
        why = plain_line(str(data["detail"]))
        return (
            f"jump host {plain_line(str(data['jump_host']))} is no way through: {data['error_type']}: {why}"
        )
    if event == "host_keys_off":
        return unchecked(int(data["count"]), [str(name) for name in data["devices"]])
    if event == "telnet_clear_text":
        count, some = int(data["count"]), [str(name) for name in data["devices"]]
        devices = "1 device was" if count == 1 else f"{count:,} devices were"
        return f"{devices} talked to over telnet, passwords went in clear text: {_named(count, some)}"
    return _said_of_lateness(data, at) if event == "run_will_be_late" else _said_of_git(event, data)


def _said_of_lateness(data: Mapping[str, Any], at: datetime) -> str:
    until, count = _clock(_moment(data["finish_by"]), near=at), int(data["devices_left"])
    left = "1 device" if count == 1 else f"{count:,} devices"
    return f"the run will not be done by {until} UTC: about {left} will be left"


def _said_of_git(event: str, data: Mapping[str, Any]) -> str | None:
    if event == "git_export_failed":
        return f"the git repository is not up to date: {plain_line(str(data['error']), 600)}"
    if event == "git_push_failed":
        where = f" to {plain_line(str(data['remote']))}" if data.get("remote") else ""
        return f"the git repository was not pushed{where}: {plain_line(str(data['error']), 600)}"
    if event == "git_export_incomplete":
        count, some = int(data["count"]), [plain_line(str(problem), 600) for problem in data["problems"]]
        more = (
            f"; and {count - len(some):,} more: `netraven git export` tells them" if count > len(some) else ""
        )
        return f"git export: {'; '.join(some)}{more}"
    return None


def _named(count: int, some: Sequence[str]) -> str:
    more = f" and {count - len(some):,} more" if count > len(some) else ""
    return ", ".join(map(plain_line, some)) + more


def unchecked(count: int, some: Sequence[str]) -> str:
    """The standing warning about devices whose host keys nobody looks at."""
    devices = "1 device" if count == 1 else f"{count:,} devices"
    return f"host keys are off for {devices}: secrets go to whoever answers in the place of {_named(count, some)}"


@dataclass(frozen=True, slots=True)
class Guarded:
    """What was noticed: sentences, oldest first, and the credentials that it holds."""

    sentences: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What a person should know besides."""
    keys_wait: bool = False
    """A jump host showed a host key that was not let pass."""

    def __bool__(self) -> bool:
        return bool(self.sentences)


@dataclass(slots=True)
class _Pause:
    """One time that a realm was unwell, from its first pause on."""

    realm: str
    why: str
    began: datetime
    until: datetime
    probes: int = 0
    ended: datetime | None = None

    def said(self) -> str:
        realm, why, first = plain_line(self.realm), plain_line(self.why), _clock(self.began)
        vain = f" after {self.probes} probe{'s' if self.probes > 1 else ''} in vain" if self.probes else ""
        if self.ended is None:
            until = _clock(self.until, near=self.began)
            return f"realm {realm} looks unwell: {why}, paused until {until} UTC{vain}"
        ended = _clock(self.ended, near=self.began)
        return f"realm {realm} looked unwell: {why}, paused from {first} until {ended} UTC{vain}"


def in_review(rows: Iterable[Mapping[str, Any]]) -> Guarded:
    """``rows`` of a run's log (timestamp, message, data), oldest first. A pause and its end are one sentence."""
    told: list[_Pause | str] = []
    open_: dict[str, _Pause] = {}
    held: dict[str, None] = {}
    warnings: list[str] = []
    keys_wait = False
    for row in rows:
        event, data, at = row["message"], row["data"] or {}, row["timestamp"]
        if event == "realm_paused":
            realm = str(data["realm"])
            pause = open_.get(realm)
            if pause is None:
                pause = open_[realm] = _Pause(realm, str(data["why"]), at, at)
                told.append(pause)
            pause.until, pause.probes = _moment(data["until"]), int(data.get("tries") or 0)
        elif event == "realm_resumed":
            if (pause := open_.pop(str(data["realm"]), None)) is not None:
                pause.ended = at
        elif (sentence := said(event, data, at)) is not None:
            if event == "credential_held":
                told.append(sentence)
                held[str(data["credential"])] = None
            else:
                warnings.append(sentence)
                keys_wait = keys_wait or str(data.get("error_type")).startswith("host_key_")
    sentences = tuple(one if isinstance(one, str) else one.said() for one in told)
    return Guarded(sentences, tuple(held), tuple(warnings), keys_wait)


def _moment(seconds: object) -> datetime:
    return datetime.fromtimestamp(float(str(seconds)), UTC)


def _clock(at: datetime, *, near: datetime | None = None) -> str:
    """``02:31:05``; with its date on another day than ``near``."""
    at = at.astimezone(UTC)
    if near is not None and at.date() != near.astimezone(UTC).date():
        return at.strftime("%Y-%m-%d %H:%M:%S")
    return at.strftime("%H:%M:%S")
