"""Check what no linter sees: links between pages lead somewhere, and no file names one particular machine.

Prints one line per fault, `path:line: what`, and exits 1 if there is any.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIP_DIRECTORIES = {"__pycache__", "build", "dist"}
BINARY = {".png", ".gif", ".ico", ".gz", ".zst", ".db", ".sqlite", ".whl"}

LINK = re.compile(r"!?\[(?:[^\]\\]|\\.)*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?(\S+?)>?\s*$")
FENCE = re.compile(r"^\s*(```|~~~)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
# A home directory, a build machine's folders, the address of a package index or an option that holds one.
MACHINE = re.compile(
    r"(?<![\w.}$*-])/(?:root|work|home/\w+)/\w|(?<!emit-)(?:extra-)?index-url\b|--find-links\b|/simple/?(?=[\s\"']|$)"
)


def files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:  # not a checkout, an unpacked archive
        found = list(ROOT.rglob("*"))
    return sorted(p for p in found if p.is_file() and not _hidden_away(p.relative_to(ROOT)))


def _hidden_away(path: Path) -> bool:
    return any(part in SKIP_DIRECTORIES or part.startswith(".venv") or part == ".git" for part in path.parts)


def broken_links(page: Path) -> Iterator[tuple[int, str]]:
    for number, line in prose(page):
        targets = [m[1] for m in LINK.finditer(re.sub(r"`[^`]*`", "", line))]
        reference = REFERENCE.match(line)
        for target in [*targets, *([reference[1]] if reference else [])]:
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            path, _, anchor = target.partition("#")
            place = (page.parent / path).resolve() if path else page
            if not place.exists():
                yield number, f"link to {target}, which does not exist"
            elif not place.is_relative_to(ROOT):
                yield number, f"link to {target}, outside the project"
            elif anchor and place.suffix == ".md" and anchor not in anchors(place):
                yield number, f"link to {target}: that page has no such heading"


def anchors(page: Path) -> set[str]:
    """Give the names that a forge makes of headings: lower case, spaces to hyphens, no punctuation."""
    seen: dict[str, int] = {}
    names = set()
    for _, line in prose(page):
        if heading := HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "")
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            repeat = seen.get(name, 0)
            seen[name] = repeat + 1
            names.add(f"{name}-{repeat}" if repeat else name)
    return names


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines without those of fenced code."""
    fence = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        mark = FENCE.match(line)
        if mark and (not fence or mark[1] == fence):
            fence = "" if fence else mark[1]
        elif not fence:
            yield number, line


def machine_names(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        if found := MACHINE.search(line):
            yield number, f"names one machine or package index: {found[0]!r}"


def main() -> int:
    faults = 0
    for path in files():
        found = [] if path.suffix in BINARY or path == Path(__file__).resolve() else list(machine_names(path))
        if path.suffix == ".md":
            found += broken_links(path)
        for number, fault in sorted(found):
            print(f"{path.relative_to(ROOT)}:{number}: {fault}")
            faults += 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
