"""The dialogue of one simulated session, without I/O: a typed line in, what the device prints out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from netraven.lab.dialects import Dialect

ENABLE_TRIES = 3


@dataclass(slots=True)
class Answer:
    """What a line leads to. `text` ends in the next prompt unless the session `ends`; lines end in CR LF."""

    text: bytes
    kind: Literal["line", "config", "enable"] = "line"
    ends: bool = False
    detail: str = ""
    prompt: bytes = b""


def on_wire(text: str) -> bytes:
    """A terminal's line ends. A carriage return that is already there stays alone."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "surrogateescape")


class Shell:
    """One session's state: the privilege level, paging, and whether a password is being typed."""

    def __init__(
        self,
        dialect: Dialect,
        name: str,
        username: str,
        *,
        config: Callable[[], tuple[bytes, bool]],
        enable_password: str | None = None,
        config_error: str | None = None,
    ) -> None:
        self.paging = True
        self._dialect = dialect
        self._names = {"name": name, "user": username}
        self._config = config
        self._enable_password = enable_password
        self._config_error = config_error
        self._mode: Literal["user", "enabled", "config"] = "enabled"
        if enable_password is not None and dialect.has_enable:
            self._mode = "user"
        self._asking = 0

    @property
    def echoes(self) -> bool:
        """False while a password is typed."""
        return not self._asking

    @property
    def more(self) -> bytes:
        return self._dialect.more.encode()

    def greeting(self) -> bytes:
        """What a new session prints before anything is typed."""
        return on_wire(self._dialect.greeting + "\n") + self.prompt()

    def prompt(self) -> bytes:
        dialect = self._dialect
        template = dialect.prompt
        if self._mode != "enabled":
            template = dialect.user_prompt if self._mode == "user" else dialect.config_prompt
        return template.format_map(self._names).encode()

    def answer(self, line: str) -> Answer:
        """Obey one line, given without its line end."""
        if self._asking:
            return self._password(line)
        line = line.strip()
        if not line:
            return self._say("")
        action, number = self._dialect.action(line)
        obey = getattr(self, f"_do_{action}", None)
        if obey is None or (self._mode == "config" and action not in ("end", "exit", "paging", "nothing")):
            return self._say("" if self._mode == "config" else self._error(line))
        answer: Answer = obey(line, number)
        return answer

    def run(self, line: str) -> Answer:
        """One command without a terminal, as `ssh device command` runs it: no paging, no prompt."""
        self.paging = False
        answer = self.answer(line)
        answer.text = answer.text.removesuffix(answer.prompt)
        return answer

    # -- commands, found by the action's name

    def _do_nothing(self, line: str, number: str) -> Answer:
        return self._say(self._stamp())

    def _do_paging(self, line: str, number: str) -> Answer:
        self.paging = number != "0"
        return self._say(self._stamp())

    def _do_screen_length(self, line: str, number: str) -> Answer:
        self.paging = number != "0"
        return self._say(f"Screen length set to {number}\n\n")

    def _do_screen_width(self, line: str, number: str) -> Answer:
        return self._say(f"Screen width set to {number}\n\n")

    def _do_complete_off(self, line: str, number: str) -> Answer:
        return self._say("Disabling complete-on-space\n\n")

    def _do_complete_on(self, line: str, number: str) -> Answer:
        return self._say("Enabling complete-on-space\n\n")

    def _do_show_version(self, line: str, number: str) -> Answer:
        return self._say(self._stamp() + self._dialect.version.format_map(self._names))

    def _do_show_config(self, line: str, number: str) -> Answer:
        if self._mode == "user" and self._dialect.has_enable:
            return self._say(self._error(line))
        if self._config_error is not None:
            return self._say(self._config_error or self._error(line))
        body, given = self._config()
        text = on_wire(self._stamp())
        if given:
            text += body if body.endswith(b"\n") else body + b"\r\n"
        else:
            header = self._dialect.header.format(**self._names, now=self._now(), size=len(body))
            text += on_wire(header) + body + on_wire(self._dialect.footer)
        prompt = self.prompt()
        return Answer(text + prompt, "config", prompt=prompt)

    def _do_enable(self, line: str, number: str) -> Answer:
        if self._mode == "user" and self._enable_password is not None:
            self._asking = 1
            return Answer(b"Password: ")
        self._mode = "enabled"
        return self._say("")

    def _do_disable(self, line: str, number: str) -> Answer:
        self._mode = "user"
        return self._say("")

    def _do_configure(self, line: str, number: str) -> Answer:
        if self._mode == "user" and self._dialect.has_enable:
            return self._say(self._error(line))
        self._mode = "config"
        return self._say(self._stamp() + self._dialect.config_entered)

    def _do_end(self, line: str, number: str) -> Answer:
        if self._mode != "config":
            return self._say(self._error(line))
        self._mode = "enabled"
        return self._say(self._dialect.config_left)

    def _do_exit(self, line: str, number: str) -> Answer:
        return self._do_end(line, number) if self._mode == "config" else self._do_logout(line, number)

    def _do_logout(self, line: str, number: str) -> Answer:
        return Answer(b"\r\n", ends=True)

    # -- parts

    def _password(self, line: str) -> Answer:
        if line == self._enable_password:
            self._asking = 0
            self._mode = "enabled"
            prompt = self.prompt()
            return Answer(prompt, "enable", detail="accepted", prompt=prompt)
        self._asking += 1
        if self._asking <= ENABLE_TRIES:
            return Answer(b"Password: ", "enable", detail="refused")
        self._asking = 0
        prompt = self.prompt()
        return Answer(on_wire(self._dialect.wrong_enable) + prompt, "enable", detail="refused", prompt=prompt)

    def _say(self, text: str) -> Answer:
        prompt = self.prompt()
        return Answer(on_wire(text) + prompt, prompt=prompt)

    def _error(self, line: str) -> str:
        return self._dialect.error.format(indent=" " * len(self.prompt()))

    def _now(self) -> str:
        return datetime.now(UTC).strftime(self._dialect.now)

    def _stamp(self) -> str:
        return self._dialect.stamp.format(now=self._now()) if self._dialect.stamp else ""
