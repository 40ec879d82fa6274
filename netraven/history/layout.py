"""Where the file of a device is in a repository: decided from the device alone, so that it is the same at any time.

A name becomes a part of the path as it is, unless that could leave the folder, hide the file or meet another one. Then
the characters in question are written as ``%`` and two hexadecimal digits for each byte, as in URLs; ``%`` itself too,
so that every part can be read back and two names never come to the same. The rest follows from it:

- Which other devices there are does not matter. A suffix for the later one of two would make a path depend on when
  devices came and went, and a repository that is rebuilt would differ.
- A path is never the folder of another: ``/`` in a name is written out, so each path has as many parts as the layout.
- Names that differ only in upper and lower case (or in how an accented letter is composed) have files that differ in
  just that. Git keeps both; a clone on a file system that does not tell them apart shows one. See ``look_alikes``.
- A name of more than :data:`LONGEST` bytes is cut and ends in ``~`` and a part of its SHA-256; ``~`` is otherwise
  written out.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from netraven.model import Place

LONGEST = 200
"""Bytes of one name in a path. File systems take 255, and a layout has words of its own."""
UNTAGGED = "untagged"
UNKNOWN = "unknown"
"""The platform of a device whose platform is not known."""

_PLACEHOLDERS = ("name", "tag", "platform", "kind")
_FIELD = re.compile(r"\{([^{}]*)\}")
_NAME_AND_KIND = re.compile(
    r"[^{}]*\{name\}[^{}]*\.\{kind\}[^{}]*"
)  # a kind has no dot: it can be told apart
_SHORT = 30
"""Bytes of a kind."""
_WORDS = 24
_DIGITS = 16
# Beside what cannot be printed: `\` and `/` part folders, `~` is ours, `git~1` is `.git` to NTFS, `%` begins an escape.
_NEVER = frozenset('/\\~%"')


def escaped(name: str, longest: int = LONGEST) -> str:
    """``name`` as one part of a path: of at most ``longest`` bytes, harmless, different for different names."""
    written = "".join(_written(character, place) for place, character in enumerate(name))
    data = written.encode()
    if len(data) <= longest:
        return written
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
    kept = data[: longest - _DIGITS - 1].decode("utf-8", "ignore")
    kept = re.sub(r"%[0-9A-F]?\Z", "", kept)  # no half of an escape
    return f"{kept}~{digest}"


def unescaped(part: str) -> str | None:
    """The name that :func:`escaped` wrote so; None where it was too long to be kept."""
    if "~" in part:
        return None
    data = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), part.encode())
    return data.decode("utf-8", "surrogateescape")


def _written(character: str, place: int) -> str:
    leading = (
        place == 0 and character in ".- "
    )  # `.git`, `..`, what `ls` hides, what a command takes for an option
    if character in _NEVER or leading or not character.isprintable():
        return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
    return character


@dataclass(frozen=True, slots=True)
class Layout:
    """``{name}``, ``{tag}``, ``{platform}`` and ``{kind}`` between words and ``/``."""

    text: str = "{name}"

    def problem(self, kinds: Iterable[str] = ("running",)) -> str | None:
        """What is wrong with it for exporting ``kinds``, and what to do; None where nothing is."""
        fields = _FIELD.findall(self.text)
        for word in fields:
            if word not in _PLACEHOLDERS:
                known = ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS)
                return f"there is no {{{word}}}; there are {known}"
        if fields.count("name") != 1:
            return "{name} must be in it, once: otherwise devices would share a file"
        if "kind" not in fields and len(shared := sorted(set(kinds))) > 1:
            return (
                f"{', '.join(shared)} of a device would share a file: put {{kind}} into it, as in "
                f"{self.text}.{{kind}}"
            )
        return next((wrong for part in self.text.split("/") if (wrong := _wrong_with(part))), None)

    def path(self, place: Place, kind: str) -> str:
        """The file of this kind of output. The layout must have no :meth:`problem`."""
        values = {
            "name": escaped(place.device),
            "tag": escaped(place.tag or UNTAGGED),
            "platform": escaped(place.platform or UNKNOWN),
            "kind": escaped(kind, _SHORT),
        }
        return _FIELD.sub(lambda match: values[match[1]], self.text)


def _wrong_with(part: str) -> str | None:
    """``part`` stands between two ``/`` of a layout."""
    words = _FIELD.sub("", part)
    if not part:
        return "it must not begin or end with /, nor have two of them in a row"
    if "{" in words or "}" in words:
        return "{ and } stand around the words that are filled in, and nowhere else"
    if part[0] in ".- ":
        return f"no part of it may begin with {part[0]!r}"
    if part[-1] in ". ":
        return f"no part of it may end with {part[-1]!r}"
    if unfit := next((c for c in words if c in _NEVER or not c.isprintable()), None):
        return f"{unfit!a} must not be in it"
    if len(words.encode()) > _WORDS:
        return f"{words[:_WORDS]}...: at most {_WORDS} bytes of words between two /"
    if len(_FIELD.findall(part)) > 1 and not _NAME_AND_KIND.fullmatch(part):
        return "between two / one thing can be filled in, or {name} and then .{kind}: put others into folders"
    return None


def look_alikes(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of paths that some file systems do not tell apart."""
    met: dict[str, str] = {}
    for path in paths:
        other = met.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if other != path:
            yield other, path
