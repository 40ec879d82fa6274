"""What the outputs of a device tell of it: its version, model, serial number. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from netraven.model import Capture
from netraven.plain import plain_line
from netraven.platforms.model import Platform


def facts_in(platform: Platform, captures: Iterable[Capture]) -> dict[str, str]:
    """By name; the first of the platform's patterns that finds something has the say."""
    texts = {capture.kind: capture.text for capture in captures}
    found: dict[str, str] = {}
    for fact in platform.facts:
        if fact.name in found or fact.kind not in texts:
            continue
        match = re.search(fact.pattern.pattern, texts[fact.kind], fact.pattern.flags | re.MULTILINE)
        value = plain_line(match.group(1) or "").strip() if match else ""
        if value:
            found[fact.name] = value
    return found
