"""Dialects as data: one TOML file per platform in ``platforms/data``, read on demand."""

from netraven.platforms.catalogue import Platform, known_platforms, load_platform

__all__ = ["Platform", "known_platforms", "load_platform"]
