"""Commands: real programs, some of which misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from netraven.notify.command import CommandHook, environment
from netraven.notify.message import Answer
from netraven.notify.payload import body
from tests.notify.facts import change, changed, event, message

PATIENCE = 20.0


def program(
    folder: Path, code: str, *arguments: str, timeout: float = PATIENCE, grace: float = PATIENCE
) -> CommandHook:
    argv = (sys.executable, "-c", code, *arguments)
    return CommandHook(argv, folder=folder, environ=os.environ, timeout=timeout, grace=grace)


def said(answer: Answer) -> str:
    return answer.said.replace(sys.executable, "PROGRAM")


def alive(pid: int) -> bool:
    """Whether it runs: one that has ended and that nobody has asked for yet (a zombie) does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def gone(pid: int) -> bool:
    async with asyncio.timeout(PATIENCE):
        while alive(pid):  # noqa: ASYNC110 - nobody sets an event there
            await asyncio.sleep(0.01)
    return True


async def number_in(file: Path) -> int:
    async with asyncio.timeout(PATIENCE):
        while not (file.exists() and file.read_text().endswith("\n")):  # noqa: ASYNC110 - nobody sets an event there
            await asyncio.sleep(0.01)
    return int(file.read_text())


async def test_a_program_reads_the_message(tmp_path: Path) -> None:
    code = "import sys; open('got', 'w').write(sys.stdin.read() + sys.argv[1])"
    answer = await program(tmp_path, code, "$HOME; ls").tell(changed())
    assert (answer.delivered, said(answer)) == (True, "PROGRAM ended with exit code 0")
    assert (tmp_path / "got").read_text() == body(changed()).decode() + "$HOME; ls"


async def test_the_first_line_of_its_complaint_is_told_and_is_harmless(tmp_path: Path) -> None:
    code = "import sys; sys.stderr.write('no \\x1b[31mroom\\nsecond line\\n'); sys.exit(3)"
    answer = await program(tmp_path, code).tell(changed())
    assert (answer.delivered, answer.permanent) == (False, False)
    assert said(answer) == "PROGRAM ended with exit code 3: no \\x1b[31mroom"


async def test_what_it_prints_goes_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (await program(tmp_path, "print('chatter ' * 100_000)").tell(changed())).delivered
    assert capfd.readouterr().out == ""


async def test_a_program_that_reads_nothing_holds_nobody_up(tmp_path: Path) -> None:
    large = message(event(), changes=tuple(change(diff="+x\n" * 21_000) for _ in range(16)))
    assert len(body(large)) > 1_000_000
    assert (await program(tmp_path, "pass").tell(large)).delivered


async def test_a_program_whose_child_lives_on_holds_nobody_up(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "open('child', 'w').write(f'{p.pid}\\n')"
    )
    assert (await program(tmp_path, code).tell(changed())).delivered
    os.kill(await number_in(tmp_path / "child"), signal.SIGKILL)


def shell(folder: Path, script: str, *, timeout: float, grace: float) -> CommandHook:
    """One that starts within moments, however busy the machine is."""
    return CommandHook(
        ["/bin/sh", "-c", script], folder=folder, environ=os.environ, timeout=timeout, grace=grace
    )


async def test_a_hanging_program_is_asked_to_end(tmp_path: Path) -> None:
    script = "trap 'touch asked; exit 0' TERM; while :; do sleep 0.05; done"
    answer = await shell(tmp_path, script, timeout=2.0, grace=PATIENCE).tell(changed())
    assert answer == Answer("/bin/sh was still running after 2 s and was stopped")
    assert (tmp_path / "asked").exists()


async def test_a_program_and_its_child_that_do_not_listen_are_ended(tmp_path: Path) -> None:
    child = "echo $$ > child; while :; do sleep 0.05; done"
    script = f"trap '' TERM; sh -c '{child}' & while :; do sleep 0.05; done"
    answer = await shell(tmp_path, script, timeout=2.0, grace=0.05).tell(changed())
    assert "was stopped" in answer.said
    assert await gone(await number_in(tmp_path / "child"))


async def test_being_cancelled_ends_the_program(tmp_path: Path) -> None:
    code = "import os, time; open('pid', 'w').write(f'{os.getpid()}\\n'); time.sleep(600)"
    task = asyncio.create_task(program(tmp_path, code).tell(changed()))
    pid = await number_in(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(pid)


async def test_a_program_that_a_signal_ended(tmp_path: Path) -> None:
    answer = await program(tmp_path, "import os; os.kill(os.getpid(), 9)").tell(changed())
    assert said(answer) == "PROGRAM was ended by SIGKILL"


async def test_what_cannot_be_run_says_why(tmp_path: Path) -> None:
    hook = CommandHook(["./nothing-there"], folder=tmp_path, environ={}, timeout=1)
    assert (await hook.tell(changed())).said == "./nothing-there cannot be run: No such file or directory"
    hook = CommandHook(["a\0b"], folder=tmp_path, environ={}, timeout=1)
    assert "zero byte" in (await hook.tell(changed())).said


async def test_secrets_of_ours_are_not_in_its_environment(tmp_path: Path) -> None:
    ours = {
        "NETRAVEN_KEY": "c4n4ry",
        "NETRAVEN_DATABASE__URL": "c4n4ry",
        "VAULT_TOKEN": "c4n4ry",
        "CHAT": "c4n4ry",
    }
    seen = environment({"PATH": "/bin", "LANG": "C", **ours}, hidden={"CHAT"})
    assert seen == {"PATH": "/bin", "LANG": "C"}
    code = "import json, os; json.dump(dict(os.environ), open('seen', 'w'))"
    hook = CommandHook([sys.executable, "-c", code], folder=tmp_path, environ=seen, timeout=PATIENCE)
    assert (await hook.tell(changed())).delivered
    assert json.loads((tmp_path / "seen").read_text()).items() >= seen.items()
    assert "c4n4ry" not in (tmp_path / "seen").read_text()
