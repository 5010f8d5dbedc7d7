"""`make docs`: collect the measurements of runs, write the pages, build the site."""

import argparse
import sys

from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.common.revision import commit
from fivestage.common.settings import ROOT
from problem import PROBLEM
from tools.book.code import without_lines
from tools.book.measured import collect, is_current_demo, problem_now, records, require_current
from tools.book.pages import Book, Facts, sizing_of
from tools.book.picture import PICTURES
from tools.book.site import build


def generated_pages() -> dict[str, str]:
    """Return the text of every generated page, by path; a missing measurement raises a UserError."""
    found = records()
    require_current(found, problem_now())
    contract = PROBLEM.contract
    book = Book(Facts(contract, found, sizing_of(contract)))
    return book.pages() | book.marked()


def require_written(texts: dict[str, str]) -> None:
    """Raise a UserError that names pages that do not match the measurements; line numbers may differ."""
    stale = [
        name
        for name, text in texts.items()
        if not (ROOT / name).exists()
        or without_lines((ROOT / name).read_text(encoding="utf-8")) != without_lines(text)
    ]
    if stale:
        raise UserError(
            f"Out of date with tools/book and docs/measured: {', '.join(stale)}. Run `make docs`."
        )


def main() -> None:
    """Collect, write and build; or only check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    parser.add_argument("--no-collect", action="store_true", help="do not update docs/measured")
    parser.add_argument(
        "--picture",
        choices=PICTURES,
        nargs="?",
        const="report",
        help="renew a screenshot (with Chromium): of the last run's page, the running service, or Grafana",
    )
    options = parser.parse_args()
    try:
        if options.check:
            require_written(generated_pages())
            return
        if not options.no_collect:
            for name in collect(commit()):
                print(f"Updated docs/measured/{name}.json")
            if not is_current_demo():
                print("Not updated: docs/measured/demo.json (`make clean demo` measures it)")
        if options.picture:
            print(f"Wrote {PICTURES[options.picture]()}")
        for name, text in generated_pages().items():
            write_text(ROOT / name, text)
        print(f"Wrote {build()}")
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
