"""Whether the project works with the newest libraries that pyproject.toml allows, and what is held back."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping

from fivestage.common.settings import REPORTS, ROOT
from fivestage.reporting.notices import Notice, write_notice

LOCK = ROOT / "requirements.lock"
PATH = REPORTS / "notices" / "dependencies.md"
PINNED = re.compile(r"^([a-z0-9.-]+)==([^ ;\\]+)", re.MULTILINE)
TAIL = 40  # lines


def pins(lock: str) -> dict[str, str]:
    """Versions by name."""
    return dict(PINNED.findall(lock))


def notice(
    before: Mapping[str, str], after: Mapping[str, str], newest: Mapping[str, str], failed: str
) -> Notice:
    """What moved, what our bounds hold back, and the end of what failed if anything did."""
    moved = [
        f"| {name} | {before.get(name, 'not there')} | {after.get(name, 'gone')} |"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    held = [
        f"{name} {after[name]} ({one})" for name, one in sorted(newest.items()) if after.get(name, one) != one
    ]
    lines = ["The newest libraries break it." if failed else "It works with the newest libraries.", ""]
    lines += (
        ["| library | locked | newest |", "|---|---|---|", *moved]
        if moved
        else ["The lock is the newest already."]
    )
    lines += (
        ["", f"Held back by the bounds of pyproject.toml or of another library: {', '.join(held)}."]
        if held
        else []
    )
    lines += ["", "```", *failed.splitlines()[-TAIL:], "```"] if failed else []
    return Notice("dependencies", "Newest libraries", bool(failed), "\n".join(lines))


def outdated() -> dict[str, str]:
    """The newest version of each installed library that is behind."""
    asked = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "list",
        "--python",
        sys.executable,
        "--outdated",
        "--format",
        "json",
    ]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 (fixed words)
    return {one["name"]: one["latest_version"] for one in json.loads(done.stdout or "[]")}


def main() -> int:
    """Lock anew, install, test; the notice is written whatever comes of it."""
    before, failed = pins(LOCK.read_text(encoding="utf-8")), ""
    for words in (("lock", "ARGS=--upgrade"), ("setup",), ("test",)):
        done = subprocess.run(  # noqa: S603 (fixed words)
            ["make", *words],  # noqa: S607 (the make of the machine)
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        sys.stdout.write(done.stdout)
        if done.returncode:
            failed = done.stdout
            break
    told = notice(before, pins(LOCK.read_text(encoding="utf-8")), outdated(), failed)
    write_notice(told, PATH)
    return int(told.attention)


if __name__ == "__main__":
    sys.exit(main())
