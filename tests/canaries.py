"""The canary hunt: secrets that exist nowhere else are looked for wherever something is said, written or shown.

Every issue that adds a place where text comes out adds it to a hunt. A secret is found as it is, in base64 at any
offset, in hex, percent-encoded, escaped as in JSON or a repr, reversed, and in UTF-16.
"""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

SHORTEST = 12
"""Bytes below which a secret could be found by chance."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A secret was seen. Shown without the secret itself."""

    secret: str
    form: str
    where: str


@dataclass
class Canaries:
    """Secrets by the names that a sighting is reported under.

    A text of several lines is looked for line by line; ``bytes`` are a binary secret (a key), which has no form as
    text of its own. What comes out of a hunt is collected; :meth:`verdict` fails the test with all of it.
    """

    secrets: Mapping[str, str | bytes] = field(repr=False)
    sightings: list[Sighting] = field(default_factory=list)
    hunted: dict[str, int] = field(default_factory=dict)
    """Bytes looked through, by place: a hunt that looked at nothing proves nothing."""

    def __post_init__(self) -> None:
        self._needles = [
            (name, form, needle)
            for name, secret in self.secrets.items()
            for part in _parts(secret)
            for form, needle in forms(part)
        ]

    def hunt(self, where: str, found: str | bytes | None) -> None:
        data = found.encode("utf-8", "surrogatepass") if isinstance(found, str) else found or b""
        self.hunted[where] = self.hunted.get(where, 0) + len(data)
        seen = {Sighting(name, form, where) for name, form, needle in self._needles if needle in data}
        self.sightings += sorted(seen, key=lambda sighting: (sighting.secret, sighting.form))

    def hunt_objects(self, where: str, objects: Iterable[object]) -> None:
        """What objects say of themselves, to people and to programmers."""
        for item in objects:
            self.hunt(f"{where}: {type(item).__name__}", f"{item!r}\n{item!s}\n{item:}")

    def hunt_exception(self, where: str, error: BaseException) -> None:
        """The exception with everything that it hangs on to, as a traceback would print it, and its arguments."""
        text = "".join(traceback.format_exception(error))
        for each in _chain(error):
            text += f"\n{each!r}\n{each!s}\n{each.args!r}\n{getattr(each, '__notes__', '')!r}\n{vars(each)!r}"
        self.hunt(where, text)

    def hunt_files(self, folder: Path, *, but: Iterable[Path] = ()) -> None:
        """Every file below ``folder`` byte by byte, and their names."""
        allowed = {path.resolve() for path in but}
        for path in sorted(folder.rglob("*")):
            self.hunt("file names", str(path))
            if path.is_file() and path.resolve() not in allowed:
                self.hunt(f"file {path.relative_to(folder)}", path.read_bytes())

    def hunt_processes(self, pid: int) -> None:
        """The arguments of a process and its descendants, and their environments (Linux)."""
        for each in descendants(pid):
            for what in ("cmdline", "environ"):
                try:
                    self.hunt(f"process {what}", Path(f"/proc/{each}/{what}").read_bytes())
                except OSError:
                    continue  # it has ended meanwhile

    def verdict(self) -> None:
        assert not self.sightings, "\n".join(f"{s.secret} as {s.form} in {s.where}" for s in self.sightings)
        assert self.hunted, "nothing was looked through"


def descendants(pid: int) -> Iterator[int]:
    """A process and everything that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from descendants(int(child))


def forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """What a secret could look like."""
    yield "itself", secret
    yield "hex", secret.hex().encode()
    yield "HEX", secret.hex().upper().encode()
    for offset in range(3):
        for alphabet, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            # what stands before and after it shares its first and its last characters
            yield alphabet, encode(b"\0" * offset + secret)[(0, 2, 3)[offset] : -4]
    yield "reversed", secret[::-1]
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return
    yield "utf-16", text.encode("utf-16-le")
    yield "JSON", json.dumps(text)[1:-1].encode()
    yield "repr", repr(text)[1:-1].encode()
    yield "percent", quote(text, safe="").encode()
    yield "form", quote_plus(text).encode()


def _parts(secret: str | bytes) -> Iterator[bytes]:
    if isinstance(secret, bytes):
        yield secret
        return
    lines = [line.strip() for line in secret.splitlines() if not line.startswith("-----")]
    for line in lines:
        if len(line) >= SHORTEST:
            yield line.encode()
    assert any(len(line) >= SHORTEST for line in lines), "a canary must be long enough not to occur by chance"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, its causes, contexts and group members."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
