"""Test the project with the newest libraries that pyproject.toml allows, and list those it holds back."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping

from fivestage.common.settings import REPORTS, ROOT
from fivestage.reporting.notices import Notice

LOCK = ROOT / "requirements.lock"
PATH = REPORTS / "notices" / "dependencies.md"
PINNED = re.compile(r"^([a-z0-9.-]+)==([^ ;\\]+)", re.MULTILINE)
TAIL_LINES = 40


def pins(lock: str) -> dict[str, str]:
    """Return the versions that a lock file pins, by name."""
    return dict(PINNED.findall(lock))


def notice_of(
    before: Mapping[str, str], after: Mapping[str, str], newest: Mapping[str, str], failure: str
) -> Notice:
    """Return a notice of changed versions, of versions held back, and of the end of a failure's output."""
    changed = [
        f"| {name} | {before.get(name, 'not installed')} | {after.get(name, 'removed')} |"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    held = [
        f"{name} {after[name]} ({one})" for name, one in sorted(newest.items()) if after.get(name, one) != one
    ]
    works = "does not work" if failure else "works"
    lines = [f"The project {works} with the newest libraries.", ""]
    table = ["| library | locked | newest |", "|---|---|---|", *changed]
    lines += table if changed else ["The lock already has the newest versions."]
    if held:
        lines += ["", f"Held back by the bounds of pyproject.toml or of another library: {', '.join(held)}."]
    if failure:
        lines += ["", "```", *failure.splitlines()[-TAIL_LINES:], "```"]
    return Notice("dependencies", "Newest libraries", bool(failure), "\n".join(lines))


def outdated() -> dict[str, str]:
    """Return the newest version of each outdated library."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "list",
        "--python",
        sys.executable,
        "--outdated",
        "--format=json",
    ]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed arguments)
    return {one["name"]: one["latest_version"] for one in json.loads(listed.stdout or "[]")}


def main() -> int:
    """Update the lock, install and test; write the notice in any case; return 1 if something failed."""
    before, failure = pins(LOCK.read_text(encoding="utf-8")), ""
    for arguments in (("lock", "ARGS=--upgrade"), ("setup",), ("test",)):
        finished = subprocess.run(  # noqa: S603 (fixed arguments)
            ["make", *arguments],  # noqa: S607 (the make of the machine)
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        sys.stdout.write(finished.stdout)
        if finished.returncode:
            failure = finished.stdout
            break
    notice_of(before, pins(LOCK.read_text(encoding="utf-8")), outdated(), failure).write(PATH)
    return int(bool(failure))


if __name__ == "__main__":
    sys.exit(main())
