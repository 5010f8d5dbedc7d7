"""Whether the project works with the newest libraries that pyproject.toml allows, and which it holds back."""

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
    """Return a notice of what changed, what the bounds hold back, and the end of what failed."""
    changed = [
        f"| {name} | {before.get(name, 'not there')} | {after.get(name, 'gone')} |"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    held = [
        f"{name} {after[name]} ({one})" for name, one in sorted(newest.items()) if after.get(name, one) != one
    ]
    lines = ["The newest libraries break it." if failure else "It works with the newest libraries.", ""]
    table = ["| library | locked | newest |", "|---|---|---|", *changed]
    lines += table if changed else ["The lock is the newest already."]
    if held:
        lines += ["", f"Held back by the bounds of pyproject.toml or of another library: {', '.join(held)}."]
    if failure:
        lines += ["", "```", *failure.splitlines()[-TAIL_LINES:], "```"]
    return Notice("dependencies", "Newest libraries", bool(failure), "\n".join(lines))


def outdated() -> dict[str, str]:
    """Return the newest version of each installed library that is behind it."""
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
    """Lock again, install and test; write the notice whatever the outcome; return 1 if something failed."""
    before, failure = pins(LOCK.read_text(encoding="utf-8")), ""
    for arguments in (("lock", "ARGS=--upgrade"), ("setup",), ("test",)):
        made = subprocess.run(  # noqa: S603 (fixed arguments)
            ["make", *arguments],  # noqa: S607 (the make of the machine)
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        sys.stdout.write(made.stdout)
        if made.returncode:
            failure = made.stdout
            break
    notice_of(before, pins(LOCK.read_text(encoding="utf-8")), outdated(), failure).write(PATH)
    return int(bool(failure))


if __name__ == "__main__":
    sys.exit(main())
