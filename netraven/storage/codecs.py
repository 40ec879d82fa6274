"""How texts are made small: each by itself, or as the difference to another one.

A difference is what zstd makes of a text when it may point into another text as if that had come before it. Two
versions of a configuration of 12 KB, which takes 3 KB by itself, differ by some 50 to 500 bytes.
"""

from __future__ import annotations

import hashlib

import zstandard

FULL = "zstd"
BASE = "zstd-base"
"""As :data:`FULL`; differences may start from it, so it stays as it is."""
DIFFERENCE = "zstd-delta"

LARGEST = 64 * 1024 * 1024
"""Bytes of the largest text that is made a difference: zstd's own readers accept twice that as a window."""

_LEVEL = 3
_DIFFERENCE_LEVEL = 9
"""70 us for a text of 12 KB, and a sixth smaller than level 3; what takes less room than this takes 10 times longer."""
_LONG = 1 << 20
"""Bytes of both texts from which level 9 would no longer find all of what they have in common."""


def packed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(data)


def unpacked(stored: bytes, sha256: bytes | None, size: int) -> bytes:
    """Raises ``ValueError`` for what is not the text of this digest (None: any) and size."""
    return _checked(zstandard.ZstdDecompressor(), stored, sha256, size)


class Base:
    """A text that others are a difference to."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._dictionary = zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        self._decompressor: zstandard.ZstdDecompressor | None = None

    def difference(self, data: bytes) -> bytes:
        reach = len(self.data) + len(data)
        window = min(27, reach.bit_length())
        options = {} if reach < _LONG else {"window_log": window, "hash_log": window - 1}
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _DIFFERENCE_LEVEL, source_size=len(data), dict_size=len(self.data), **options
        )
        compressor = zstandard.ZstdCompressor(dict_data=self._dictionary, compression_params=parameters)
        return compressor.compress(data)

    def unpacked(self, stored: bytes, sha256: bytes, size: int) -> bytes:
        """Raises ``ValueError`` as :func:`unpacked` does."""
        if self._decompressor is None:
            self._decompressor = zstandard.ZstdDecompressor(dict_data=self._dictionary)
        return _checked(self._decompressor, stored, sha256, size)


def _checked(
    decompressor: zstandard.ZstdDecompressor, stored: bytes, sha256: bytes | None, size: int
) -> bytes:
    try:
        if zstandard.frame_content_size(stored) != size:  # before that much memory is taken
            raise ValueError("another size")
        found = decompressor.decompress(stored, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if sha256 is not None and hashlib.sha256(found).digest() != sha256:
        raise ValueError("another digest")
    return found
