"""`make bench-study`: the small measurements of the design book; `ARGS="maps storage"` names some of them."""

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path

from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.common.settings import REPORTS, prepare_environment

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}  # CPU without threads that wait for each other
HELPERS = ("__init__", "__main__", "sample")


def names() -> list[str]:
    """The studies that are there: a project on another table has no network of routes."""
    found = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(name for name in found if name not in HELPERS)


def main() -> None:
    """Run studies one after another, each into a file of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names(), []], help="by default all")
    asked = parser.parse_args().names or names()
    prepare_environment()
    os.environ |= ONE_THREAD
    for name in asked:
        begun = time.perf_counter()
        try:
            found = importlib.import_module(f"tools.bench.study.{name}").measure()
        except UserError as error:
            sys.exit(str(error))
        text = json.dumps(found, indent=1)
        write_text(REPORTS / "bench" / f"study-{name}.json", text)
        print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)  # noqa: T201 (for a person)


if __name__ == "__main__":
    main()
