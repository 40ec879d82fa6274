"""Dialects as data: one file per platform in ``platforms/data``, the user's on top, read on demand."""

from netraven.platforms.catalogue import Catalogue, known_platforms, load_platform, shipped
from netraven.platforms.model import Platform

__all__ = ["Catalogue", "Platform", "known_platforms", "load_platform", "shipped"]
