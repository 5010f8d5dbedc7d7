"""`make bench-study`: run the small measurements of the design book; `ARGS="maps storage"` selects some."""

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

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # waiting threads would count as CPU time
HELPERS = ("__init__", "__main__", "sample")


def names() -> list[str]:
    """Return the names of all studies."""
    found = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(name for name in found if name not in HELPERS)


def main() -> None:
    """Run the studies one after another, and write a file for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names(), []], help="the studies to run (all)")
    selected = parser.parse_args().names or names()
    prepare_environment()
    os.environ |= ONE_THREAD
    for name in selected:
        started = time.perf_counter()
        try:
            found = importlib.import_module(f"tools.bench.study.{name}").measure()
        except UserError as error:
            sys.exit(str(error))
        text = json.dumps(found, indent=1)
        write_text(REPORTS / "bench" / f"study-{name}.json", text)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
