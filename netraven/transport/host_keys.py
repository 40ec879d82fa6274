"""The host key gate: which keys a device may show before anything is sent to it."""

from __future__ import annotations

from collections.abc import Sequence

from netraven.errors import HostKeyChanged, HostKeyUnknown
from netraven.model import HostKey


def judge(shown: HostKey, on_record: Sequence[HostKey], *, accept_new: bool) -> bool:
    """Whether ``shown`` is new and to be remembered; False where it is on record.

    Raises ``HostKeyChanged`` where other keys are on record, ``HostKeyUnknown`` where none is and new ones are not
    accepted. A key of another algorithm than those on record is a changed key too: whoever sits in between would
    show exactly that.
    """
    if any(shown == key for key in on_record):
        return False
    if on_record:
        known = ", ".join(f"{key.fingerprint} ({key.algorithm})" for key in on_record)
        raise HostKeyChanged(
            f"the device shows {shown.fingerprint} ({shown.algorithm}), on record is {known}; nothing was sent"
        )
    if not accept_new:
        raise HostKeyUnknown(
            f"the device shows {shown.fingerprint} ({shown.algorithm}), which is not on record; nothing was sent"
        )
    return True
