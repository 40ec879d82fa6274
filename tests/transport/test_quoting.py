"""What a device said does not carry its secrets into a message."""

from __future__ import annotations

import pytest

from netraven.errors import CommandRejected
from netraven.platforms import load_platform
from netraven.transport.session import _judged


def test_a_line_that_is_quoted_is_without_its_secrets() -> None:
    output = load_platform("cisco_iosxe").outputs["running"]
    answer = b"% Error in line 7: username bob password 0 hunter2\r\n"
    with pytest.raises(CommandRejected) as caught:
        _judged(answer, output, ("% Error",))
    assert "hunter2" not in str(caught.value)
    assert "% Error in line 7: username bob password 0 ********" in str(caught.value)
