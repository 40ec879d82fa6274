"""The host key gate: which keys a device may show before anything is sent to it."""

from __future__ import annotations

from netraven.errors import HostKeyChanged, HostKeyUnknown
from netraven.model import HostKey, Target


def judge(shown: HostKey, target: Target) -> bool:
    """Whether ``shown`` is new and to be remembered; False where it is on record or the policy is ``off``.

    Raises ``HostKeyChanged`` where other keys are on record or the key is revoked, ``HostKeyUnknown`` where none is
    and new ones are not accepted. A key of another algorithm than those on record is a changed key too: whoever sits
    in between would show exactly that.
    """
    key = f"{shown.fingerprint} ({shown.algorithm})"
    if any(shown == revoked for revoked in target.trust.revoked):
        raise HostKeyChanged(f"the device shows {key}, which is revoked; nothing was sent")
    if target.access.host_keys == "off" or any(shown == known for known in target.host_keys):
        return False
    if target.host_keys:
        known = ", ".join(f"{known.fingerprint} ({known.algorithm})" for known in target.host_keys)
        raise HostKeyChanged(f"the device shows {key}, on record is {known}; nothing was sent")
    if target.access.host_keys == "strict":
        raise HostKeyUnknown(f"the device shows {key}, which is not on record; nothing was sent")
    return True
