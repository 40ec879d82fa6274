"""What may be a name, a host, a tag. Each function returns what is wrong with a text, or None."""

from __future__ import annotations

LONGEST = 255
TAG_SEPARATORS = ";,"


def wrong_with_name(text: str) -> str | None:
    """Names identify devices and credentials, and appear in commands, file names and logs."""
    return _wrong(text) or ("must not start with '-'" if text.startswith("-") else None)


def wrong_with_tag(text: str) -> str | None:
    if any(separator in text for separator in TAG_SEPARATORS):
        return f"must not contain any of {' '.join(TAG_SEPARATORS)}"
    return wrong_with_name(text)


def wrong_with_host(text: str) -> str | None:
    """Whether it resolves is seen when it is called."""
    if wrong := _wrong(text):
        return wrong
    if any(character.isspace() or character in "/@,;" for character in text):
        return "must be a host name or an address, and nothing else"
    if text.count(":") == 1:
        return "must not contain the port, which has a column of its own"
    return None


def _wrong(text: str) -> str | None:
    if not text:
        return "must not be empty"
    if len(text) > LONGEST:
        return f"must not be longer than {LONGEST} characters"
    if text != text.strip():
        return "must not start or end with a space"
    if not text.isprintable():
        return "must not contain control characters"
    return None
