"""`make docs`: takes up what runs have measured, writes the pages, builds the site."""

import argparse
import sys

from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.common.revision import commit
from fivestage.common.settings import ROOT
from problem import PROBLEM
from tools.book.code import without_lines
from tools.book.measured import collect, is_current_demo, problem_now, records, require_current
from tools.book.pages import SOURCES, Book, Facts, sizing_of
from tools.book.picture import PICTURES
from tools.book.site import build


def wanted() -> dict[str, str]:
    """Every page that templates write, by its path.

    Raises:
        UserError: when something was not measured, or for another contract.
    """
    if not SOURCES.exists():
        return {}  # a project of its own, about which no book is written yet
    found = records()
    require_current(found, problem_now())
    contract = PROBLEM.contract
    book = Book(Facts(contract, found, sizing_of(contract)))
    return book.pages() | book.marked()


def require_written(texts: dict[str, str]) -> None:
    """Make sure that the pages say what was measured; lines of code may have moved.

    Raises:
        UserError: naming the pages that do not.
    """
    stale = [
        name
        for name, text in texts.items()
        if not (ROOT / name).exists()
        or without_lines((ROOT / name).read_text(encoding="utf-8")) != without_lines(text)
    ]
    if stale:
        raise UserError(f"Not what book/ and docs/measured say: {', '.join(stale)}. Run `make docs`.")


def main() -> None:
    """Collect, write and build; or only check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a page is stale")
    parser.add_argument("--no-collect", action="store_true", help="leave docs/measured as it is")
    parser.add_argument(
        "--picture",
        choices=PICTURES,
        nargs="?",
        const="report",
        help="take a picture anew (Chromium): of the last run's page, the service that runs, or Grafana",
    )
    given = parser.parse_args()
    try:
        if given.check:
            require_written(wanted())
            return
        if not given.no_collect:
            for name in collect(commit()):
                print(f"taken up: docs/measured/{name}.json")  # noqa: T201 (for a person)
            if not is_current_demo():
                print("left as it was: docs/measured/demo.json (`make clean demo` measures it)")  # noqa: T201
        if given.picture:
            print(f"taken: {PICTURES[given.picture]()}")  # noqa: T201 (for a person)
        for name, text in wanted().items():
            write_text(ROOT / name, text)
        print(f"The site: {build()}")  # noqa: T201 (for a person)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
