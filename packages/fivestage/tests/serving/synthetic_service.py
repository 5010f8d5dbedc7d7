"""The service of the synthetic binary problem as a process: what `python -m serving` is in a project."""

from fastapi import FastAPI

from fivestage.serving.server import prepare_process, run
from fivestage.serving.settings import Settings
from serving.app import create_app


def create() -> FastAPI:
    from tests.synthetic import synthetic_problem

    prepare_process()
    return create_app(synthetic_problem("binary"), Settings.from_environment())


if __name__ == "__main__":
    run("tests.serving.synthetic_service:create")
