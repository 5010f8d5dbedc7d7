"""Commands that need no pipelines: set-up, images, registry and service."""

import inspect
import os
import sys
from importlib.metadata import version as version_of
from typing import Annotated, Literal

import typer

from fivestage.cli.application import Application
from fivestage.common.errors import UserError
from fivestage.common.settings import DEMO, ROOT, SERVING
from fivestage.features.problem import Problem
from fivestage.scaffold.command import OPTIONS

PAGES = {  # the usual port of each program, and its page that lists the project's runs
    "mlflow": (5000, "/#/experiments?workflowType=machine_learning"),  # it starts with its pages for LLMs
    "zenml": (8237, "/projects/default/pipelines"),
    "evidently": (8238, ""),
}


def project_application(problem: Problem, help_text: str) -> Application:
    """Create the application of a project, with the library's commands.

    Args:
        problem: The project's problem; its contract is checked before a command runs.
        help_text: What `--help` says first.

    Returns:
        The application, to which `command` adds more.
    """
    app = Application(problem, help_text)
    _add_set_up(app)
    _add_registry(app)
    _add_service(app)
    return app


def _add_set_up(app: Application) -> None:
    problem = app.problem

    def init(**words: str) -> None:
        """Inspect a table, and write problem/ and the files generated from its contract."""
        from fivestage.capacity.size import size as write_size
        from fivestage.scaffold.command import start

        for line in start(words):
            typer.echo(line)
        write_size(problem.contract)
        typer.echo("The manifests are sized from the contract; `make size` shows how many replicas, and why.")
        typer.echo("Look in problem/ for RECONSIDER, then: make demo")

    init.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # Typer builds the options from it
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default="",
                annotation=Annotated[str, typer.Option(help=about, envvar=name.upper(), show_envvar=False)],
            )
            for name, about in OPTIONS.items()
        ]
    )
    app.command(stores=False, contract=False)(init)

    @app.command(stores=False)
    def alerts() -> None:
        """Write the alert rules for the Prometheus Operator."""
        from fivestage.monitoring.alerts import write_operator_rules

        write_operator_rules()

    @app.command(stores=False)
    def size() -> None:
        """Write replicas, resource requests and schedules of k8s/, from the contract and measurements."""
        from fivestage.capacity.size import size as write_size

        typer.echo(write_size(problem.contract))

    @app.command()
    def ui(
        which: Annotated[
            Literal["mlflow", "zenml", "evidently"], typer.Option(help="whose pages to open")
        ] = "mlflow",
        port: Annotated[
            int, typer.Option(help="a port to use instead of the program's usual one", show_default=False)
        ] = 0,
    ) -> None:
        """Open the pages of MLflow, of ZenML, or of Evidently with the checks of every period."""
        from fivestage.common.settings import EVIDENTLY_WORKSPACE
        from fivestage.orchestration.databases import skip_zenml_survey

        usual, page = PAGES[which]
        port = port or usual
        if which == "evidently":
            if "://" in EVIDENTLY_WORKSPACE:
                raise UserError(f"Evidently runs on a server: open {EVIDENTLY_WORKSPACE} instead.")
            program = ["evidently.cli", "ui", "--workspace", EVIDENTLY_WORKSPACE]
        elif which == "mlflow":
            program = ["mlflow", "ui", "--backend-store-uri", os.environ["MLFLOW_TRACKING_URI"]]
        else:
            if not os.environ["ZENML_STORE_URL"].startswith("sqlite:"):
                raise UserError(f"ZenML runs on a server: open {os.environ['ZENML_STORE_URL']} instead.")
            skip_zenml_survey()
            os.environ |= {"ZENML_SERVER_AUTH_SCHEME": "NO_AUTH", "ZENML_SERVER_DEPLOYMENT_TYPE": "local"}
            # ZenML's server needs another version of FastAPI, so it runs in a separate environment.
            program = ["uv", "tool", "run", "--from", f"zenml[server]=={version_of('zenml')}"]
            program += ["uvicorn", "zenml.zen_server.zen_server_api:app"]
        typer.echo(f"Open http://127.0.0.1:{port}{page} once the server has started; Ctrl-C stops it.")
        os.execv(sys.executable, [sys.executable, "-m", *program, "--port", str(port)])  # noqa: S606


def _add_registry(app: Application) -> None:
    problem = app.problem

    @app.command()
    def approve(by: Annotated[str, typer.Option(help="the approver's name")] = "") -> None:
        """Promote the version that passed its gates and waits for a person's approval."""
        from fivestage.registry.versions import ModelRegistry

        version = ModelRegistry(problem.contract.name).approve(by)
        typer.echo(f"Version {version.version} is the champion, approved by {by}: `make deploy` serves it.")

    @app.command()
    def image(
        *,
        without_model: Annotated[
            bool, typer.Option("--without-model", help="the service fetches the model at start")
        ] = False,
    ) -> None:
        """Build two images: the service with the champion, and the one that runs these commands."""
        from fivestage.deployment.images import build_pipelines, build_serving
        from fivestage.registry.versions import ModelRegistry

        if without_model:
            typer.echo(build_serving())
        else:
            registry = ModelRegistry(problem.contract.name)
            champion = registry.require_champion()
            typer.echo(build_serving(registry.fetch(champion.version), champion.version))
        typer.echo(build_pipelines())

    @app.command(stores=False)
    def push(
        registry: Annotated[str, typer.Option(envvar="REGISTRY", help="such as ghcr.io/team/project")] = "",
    ) -> None:
        """Push both images to a registry, and print their pinned names as a workflow's outputs."""
        from fivestage.deployment.images import push_images

        if not registry:
            raise UserError("Name the registry: make push REGISTRY=ghcr.io/team/project")
        for role, pinned in push_images(registry).items():
            repository, _, digest = pinned.partition("@")
            typer.echo(f"{role}={pinned}\n{role}_name={repository}\n{role}_digest={digest}")


def _add_service(app: Application) -> None:
    problem = app.problem

    @app.command(stores=False)  # a pod waits for it, and it needs only the registry
    def fetch() -> None:
        """Fetch the champion, and its challenger as a shadow, into SERVE_FOLDER before a service starts."""
        from fivestage.deployment.local_process import fetch_versions
        from fivestage.serving.service_settings import Settings

        for line in fetch_versions(Settings.from_environment(), problem.contract.name):
            typer.echo(line)

    @app.command()
    def serve(
        port: Annotated[
            int, typer.Option(help="a port to use instead of SERVE_PORT", show_default=False)
        ] = 0,
    ) -> None:
        """Serve the champion in the foreground, until Ctrl-C."""
        from fivestage.deployment.local_process import switch
        from fivestage.deployment.service_client import require_free_port, url
        from fivestage.registry.versions import ModelRegistry
        from fivestage.serving.service_settings import PREFIX, Settings

        if port:
            os.environ[f"{PREFIX}PORT"] = str(port)
        registry, settings = ModelRegistry(problem.contract.name), Settings.of_folder(str(SERVING))
        champion = registry.require_champion()
        require_free_port(settings)
        switch(settings, champion.version, registry.fetch(champion.version))
        typer.echo(
            f"Serving version {champion.version} at {url(settings)}; /docs describes it. Ctrl-C stops it."
        )
        os.chdir(ROOT)
        os.environ[f"{PREFIX}FOLDER"] = str(SERVING)
        os.execv(sys.executable, [sys.executable, "-m", "serving"])  # noqa: S606 (the same interpreter)

    @app.command(stores=False)
    def stop() -> None:
        """Stop the service that `deploy` started or that an interrupted demo left running."""
        from fivestage.deployment import docker_container as docker
        from fivestage.deployment import local_process as local
        from fivestage.serving.service_settings import Settings

        folders = (Settings.of_folder(str(SERVING)), Settings.of_folder(str(DEMO)))
        stopped = [local.stop(settings) for settings in folders] + [docker.stop(folders[0])]
        typer.echo("The service is stopped." if any(stopped) else "No service of this project is running.")
