"""Dialects as data: one TOML file per platform in ``platforms/data``, read on demand."""

from netraven.platforms.catalogue import known_platforms, load_platform
from netraven.platforms.model import Platform

__all__ = ["Platform", "known_platforms", "load_platform"]
