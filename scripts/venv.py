"""Bring a virtual environment up to the locked requirements: `python3 scripts/venv.py DIRECTORY NAME...`.

Each NAME is a file of requirements/, installed with its hashes; then the project itself, editable. What was
installed is remembered inside the environment, so that a second run does nothing. A lock file that changed,
another Python or a moved checkout make a new environment: it holds what the locks say and nothing left over.

Standard library only, and no syntax newer than Python 3.6: an old Python has to read this to say so.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)


def main() -> int:
    venv = ROOT / sys.argv[1]
    names = sys.argv[2:]
    problem = _what_is_missing()
    if problem:
        print("netraven: " + problem, file=sys.stderr)
        return 1
    with (ROOT / (venv.name + ".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once take turns
        try:
            _bring_up(venv, names)
        except subprocess.CalledProcessError as error:
            print(
                "netraven: setting up {} failed (see above). It needs a Python package index and some disk "
                "space; run the same command again once that is mended.".format(venv.name),
                file=sys.stderr,
            )
            return error.returncode or 1
    return 0


def _what_is_missing() -> str:
    if sys.version_info < OLDEST:
        return (
            "Python {}.{} or newer is needed, and {} is {}.{}. Install one (Debian, Ubuntu: apt-get install "
            "python3 python3-venv) or name one: make PYTHON=python3.12 ...".format(
                *OLDEST, sys.executable, *sys.version_info[:2]
            )
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        return (
            "this Python cannot make virtual environments. Install the missing part (Debian, Ubuntu: "
            "apt-get install python3-venv, or python{}.{}-venv) or name another: make PYTHON=...".format(
                *sys.version_info[:2]
            )
        )
    return ""


def _bring_up(venv: Path, names: List[str]) -> None:
    stamp = venv / "netraven-installed.json"
    foundation = {"python": sys.version, "base": sys.base_prefix, "path": str(venv)}
    digests = {p.stem: _digest(p) for p in (ROOT / "requirements").glob("*.txt")}
    project = _digest(ROOT / "pyproject.toml")

    try:
        state = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = {}
    installed = state.get("requirements", {})
    sound = state.get("foundation") == foundation
    if not sound or any(digests.get(name) != digest for name, digest in installed.items()):
        print("netraven: making {} with Python {}".format(venv.name, sys.version.split()[0]), flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(venv))
        state = {"foundation": foundation, "requirements": {}, "project": None}
        installed = state["requirements"]

    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    for name in names:
        if name not in installed:
            print("netraven: installing requirements/{}.txt into {}".format(name, venv.name), flush=True)
            _run(*pip, "--require-hashes", "-r", str(ROOT / "requirements" / (name + ".txt")))
            installed[name] = digests[name]
            stamp.write_text(json.dumps(state, indent=1), encoding="utf-8")
    if state["project"] != project:
        _run(*pip, "--no-deps", "--no-index", "--no-build-isolation", "--editable", str(ROOT))
        state["project"] = project
        stamp.write_text(json.dumps(state, indent=1), encoding="utf-8")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(*command: str) -> None:
    env = {
        k: v for k, v in os.environ.items() if k not in {"PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET"}
    }
    subprocess.run(command, check=True, cwd=str(ROOT), env=env, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
