"""The service of the synthetic binary problem as a process: what `python -m serving` is in a project."""

import os

from fastapi import FastAPI

from fivestage.common import native
from fivestage.serving.server import run
from fivestage.serving.service_settings import Settings
from tests.serving.prediction_app import create_app


def create() -> FastAPI:
    from tests.synthetic import synthetic_problem

    if "SYNTHETIC_WITHOUT_C" in os.environ:  # as where no compiler was when the library was installed
        native.EXTENSION_SUFFIXES = []  # type: ignore[attr-defined]
    return create_app(synthetic_problem("binary"), Settings.from_environment())


if __name__ == "__main__":
    run("tests.serving.synthetic_service:create")
