"""Pushing with the operator's own git: their ssh, their credential helpers. Never with force."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import unquote

from netraven.errors import GitError
from netraven.git.command import Answer, Git, harmless, without_userinfo

_HTTP = re.compile(r"(?i)(https?://)([^/\s@]*)@(.*)")
_DIVERGED = re.compile(r"non-fast-forward|fetch first|stale info|needs force", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What came of a push. ``error`` is one line for a person, free of secrets; empty where it is done."""

    remote: str
    commit: str
    error: str = ""


async def push(git: Git, remote: str, branch: str, commit: str, *, timeout: float) -> Pushed:  # noqa: ASYNC109 - ends git
    """Push the branch as it is. Does not raise ``GitError``: a push that failed is tried again another time.

    What a URL says of users and passwords is handed over in the environment: the arguments of a process, git's helpers'
    too, can be read by everyone on the machine.
    """
    shown = without_userinfo(remote)
    where, settings = _apart(remote)
    ref = f"refs/heads/{branch}"
    try:
        said = await git.run("push", "--porcelain", where, f"{ref}:{ref}", timeout=timeout, operator=settings)
    except GitError as error:
        return Pushed(shown, commit, f"{error}. It is tried again after the next export")
    if said.code == 0:
        return Pushed(shown, commit)
    return Pushed(shown, commit, _why(said, branch))


def _apart(remote: str) -> tuple[str, dict[str, str]]:
    """The remote without userinfo, and the setting of git's that has it."""
    match = _HTTP.fullmatch(remote)
    if match is None:
        return remote, {}
    scheme, userinfo, rest = match.groups()
    user, _, password = userinfo.partition(":")
    token = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    host = rest.partition("/")[0]
    return scheme + rest, {f"http.{scheme}{host}/.extraHeader": f"Authorization: Basic {token}"}


def _why(said: Answer, branch: str) -> str:
    lines = said.out.decode("utf-8", "replace").splitlines()
    rejected = next((line for line in lines if line.startswith("!\t")), "")
    if _DIVERGED.search(rejected):
        return (
            f"the remote's branch {branch} has commits that are not in the exported repository (somebody pushed to it, "
            "or the repository was rebuilt); NetRaven never pushes with force. Name another branch in git.branch; or, "
            "in a clone of the remote, keep what is there "
            f"(git push origin origin/{branch}:refs/heads/{branch}-before), and then push with force "
            f"by hand (git -C REPOSITORY push --force REMOTE {branch})"
        )
    if rejected:
        remote = [line for line in said.err.splitlines() if line.startswith("remote:")]
        told = f" ({harmless(' / '.join(remote))})" if remote else ""
        return f"the remote refused it: {harmless(rejected.split(chr(9))[-1])}{told}"
    lines = [
        line for line in said.err.splitlines() if line.startswith(("fatal:", "error:", "ssh:", "remote:"))
    ]
    return harmless(" / ".join(lines) or said.err) or f"git push ended with exit code {said.code}"
