"""Test the project with the newest libraries that pyproject.toml allows, and list those it holds back."""

import re
import subprocess
import sys

from fivestage.common.errors import UserError
from fivestage.common.programs import run_program
from fivestage.common.settings import REPORTS, ROOT
from fivestage.reporting.notices import Notice

PATH = REPORTS / "notices" / "dependencies.md"
PINNED = re.compile(r"^([+-][a-z0-9.-]+==[^\s;\\]+)", re.MULTILINE)  # of a diff of the lock
TAIL_LINES = 40


def notice_of(difference: str, outdated: str, failure: str) -> Notice:
    """Return a notice of changed versions, of versions held back, and of the end of a failure's output."""
    pins = PINNED.findall(difference)
    lines = ["The project works with the newest libraries.", ""]
    if failure:
        lines = ["The update to the newest libraries failed; the end of the output is below.", ""]
    if pins:
        lines += ["```diff", *pins, "```"]
    elif not failure:
        lines += ["The lock already has the newest versions."]
    if outdated:
        lines += ["", "Held back by the bounds of pyproject.toml or of another library:", ""]
        lines += ["```", *outdated.splitlines(), "```"]
    if failure:
        lines += ["", "```", *failure.splitlines()[-TAIL_LINES:], "```"]
    return Notice("dependencies", "Newest libraries", bool(failure), "\n".join(lines))


def main() -> int:
    """Update the lock, install and test; write the notice in any case; return 1 if something failed."""
    failure = ""
    for arguments in (("lock", "ARGS=--upgrade"), ("setup",), ("test",)):
        finished = subprocess.run(  # noqa: S603 (fixed arguments)
            ["make", *arguments],  # noqa: S607 (the make of the machine)
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        sys.stdout.write(finished.stdout)
        if finished.returncode:
            failure = finished.stdout
            break
    outputs = []
    for command in (
        ("git", "-C", str(ROOT), "diff", "--unified=0", "requirements.lock"),
        (sys.executable, "-m", "uv", "pip", "list", "--python", sys.executable, "--outdated"),
    ):
        try:
            outputs.append(run_program(*command).stdout)
        except UserError as error:
            outputs.append("")
            failure = f"{failure}\n{error}".strip()
    difference, outdated = outputs
    notice_of(difference, outdated, failure).write(PATH)
    return int(bool(failure))


if __name__ == "__main__":
    sys.exit(main())
