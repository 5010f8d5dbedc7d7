"""`python -m fivestage.ci issue|propose|facts NOTICE`; the Makefile calls it."""

import argparse
import sys
from pathlib import Path

from fivestage.ci.issue import tell
from fivestage.ci.propose import propose
from fivestage.common.errors import UserError
from fivestage.reporting.notices import read_notice


def main(arguments: list[str]) -> int:
    """Do it; a sentence and 1 when that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m ci")
    parser.add_argument("verb", choices=("issue", "propose", "facts"))
    parser.add_argument("notice", type=Path)
    parser.add_argument("files", nargs="*", help="propose: what goes along")
    parser.add_argument("--base", default="main", help="propose: the branch to merge into")
    parser.add_argument(
        "--from", dest="source", type=Path, default=Path(), help="propose: where they lie now"
    )
    options = parser.parse_args(arguments)
    try:
        if options.verb != "propose" and not options.notice.exists():
            print(f"There is no {options.notice}: nothing new is to be told.", file=sys.stderr)  # noqa: T201
            return 0  # no period was over, or nothing was asked for
        notice = read_notice(options.notice)
        match options.verb:
            case "issue":
                said = tell(notice)
            case "propose":
                said = propose(notice, options.files, options.base, options.source)
            case _:  # one a line, as a workflow's outputs are written
                said = "\n".join(f"{name}={value}" for name, value in notice.facts.items())
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201 (for a person)
        return 1
    print(said)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
