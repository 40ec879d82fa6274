"""The rules without what makes them quick: every pattern is searched for in all of the text."""

from __future__ import annotations

import re

from netraven.history.rules import Rules
from netraven.platforms import Platform
from netraven.platforms.needs import Needs


def knows_nothing(_pattern: re.Pattern[str]) -> Needs:
    return Needs()


def naive(platform: Platform) -> Rules:
    return Rules.of(platform, knows_nothing)
