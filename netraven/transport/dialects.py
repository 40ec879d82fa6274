"""Which platform a device speaks, and the session over its shell: the same for every transport."""

from __future__ import annotations

from netraven.errors import InputError, InternalFault
from netraven.model import AUTO, Target
from netraven.platforms import Catalogue, Platform, shipped
from netraven.transport.drivers import prompts_of
from netraven.transport.login_dialogue import LoginDialogue
from netraven.transport.session import ShellSession
from netraven.transport.shell import Shell


class Dialects:
    """``catalogue``: the platforms that are known; without one, those that ship."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self._catalogue = catalogue or shipped()

    def of(self, target: Target) -> Platform | None:
        """Looked up before anything is sent; None where it is to be found out.

        An unknown or broken one is this device's trouble and not the run's: raises ``InternalFault``.
        """
        name = target.device.platform
        if name == AUTO:
            if target.detected is None or target.detected not in self._catalogue:
                return None
            name = target.detected
        try:
            platform = self._catalogue.load(name)
        except InputError as error:
            raise InternalFault(str(error)) from error
        if not platform.collects:
            raise InternalFault(f"nothing is collected from a device of platform {platform.name}")
        return platform

    def login(self, platform: Platform | None, username: str) -> LoginDialogue:
        """How a shell of the platform asks who it is."""
        prompts = prompts_of(platform) if platform is not None else ()
        return LoginDialogue(platform, username, prompts)

    def session(
        self, shell: Shell, platform: Platform | None, *, command_timeout: float, hints: str = ""
    ) -> ShellSession:
        """``hints``: what the server said of itself before the shell was open."""
        candidates = () if platform is not None else self._catalogue.detectable()
        return ShellSession(
            shell, platform, command_timeout=command_timeout, candidates=candidates, hints=hints
        )
