"""The project's commands; `python run.py --help` lists them. Add your own here."""

from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option, echo

from fivestage.cli.demo_run import DemoRun
from fivestage.cli.library_commands import project_application
from fivestage.common import settings
from fivestage.common.errors import UserError
from problem import PROBLEM

if TYPE_CHECKING:
    from fivestage.deployment.releases import Release
    from fivestage.deployment.service_client import Deployment
    from fivestage.monitoring.retraining_loop import RetrainingLoop
    from fivestage.registry.versions import Version
    from fivestage.reporting.report import Report
    from pipelines.runs import TrainingRun

DAY = "YYYY-MM-DD"
Overlay = Annotated[str, Option(help="a folder of k8s/overlays")]
Context = Annotated[str, Option(help="kubectl context; by default the current one")]
Why = Annotated[str, Option(help="the reason, kept in the release history")]
Target = Literal["local", "docker", "kubernetes"]
Check = Literal["none", "errors", "latency", "distribution"]
VersionName = Annotated[str, Option("--version", help="a version to use instead of the champion")]

SERVING = str(settings.SERVING)  # the folder of the service that `make deploy` starts

app = project_application(PROBLEM, "The commands of this project.")


@app.command()
def demo() -> None:
    """Run all five stages: problem, data, model, serving, and monitoring over the months after training."""
    stages = DemoRun(PROBLEM)
    if stages.is_current():
        return
    from pipelines import runs

    as_of = PROBLEM.contract.split.test_start.isoformat()
    with stages.stage("problem", report().question):
        stages.clear()
    with stages.stage("data", "raw tables, quarantine, features as of each decision, leakage probes"):
        stages.cached = runs.ingest(as_of)
    with stages.stage("model", f"baselines, candidates, gates as of {as_of}, and the months after it"):
        trained = train_from_scratch(as_of)
        echo(trained.text)
        runs.evaluate(trained.version)
    serve_and_simulate(trained, stages)
    stages.remember()


@app.command()
def simulate() -> None:
    """Train, then simulate the following months against a running service."""
    stages = DemoRun(PROBLEM)
    stages.clear()
    serve_and_simulate(train_from_scratch(PROBLEM.contract.split.test_start.isoformat()), stages)


@app.command()
def backtest() -> None:
    """Compare retraining policies over the whole period of the data."""
    from pipelines import runs

    table = report().save_policies(runs.compare_policies())
    write_report()
    echo(table)


@app.command()
def train(
    as_of: Annotated[
        str,
        Option(metavar=DAY, help="the day to train as of; by default test_start, or the champion's if later"),
    ] = "",
) -> None:
    """Train the candidates; the best becomes champion if it passes every gate."""
    from pipelines import runs

    trained = runs.train(as_of)
    echo("  scores on the folds (* marks the chosen candidate):")
    for line in trained.leaderboard():
        echo(f"  {line}")
    echo(trained.text)


@app.command()
def evaluate(version: VersionName = "") -> None:
    """Evaluate the champion on all data after its training day, and write its model card."""
    from pipelines import runs

    runs.evaluate(version_or_champion(version))
    write_report()


@app.command()
def card(version: VersionName = "") -> None:
    """Write a version's model card, and the decisions behind it, to docs/."""
    from steps.report import documents

    for name, text in documents(version_or_champion(version).version).items():
        path = settings.ROOT / "docs" / name
        path.write_text(text, encoding="utf-8")
        echo(str(path))


@app.command()
def deploy(
    *,
    target: Annotated[Target, Option(help="where to deploy")] = "local",
    image: Annotated[str, Option(help="kubernetes: an image to use instead of the overlay's")] = "",
    bake_seconds: Annotated[float, Option(help="how long the canary shares the traffic")] = 30,
    accept: Annotated[Check, Option(help="a canary check whose failure is accepted")] = "none",
    overlay: Overlay = "local",
    context: Context = "",
    why: Why = "",
) -> None:
    """Serve the champion if it passes the smoke test; otherwise the previous version stays."""
    from pipelines import runs

    champion = version_or_champion()
    if target == "kubernetes":
        echo(f"Releasing version {champion.version} with k8s/overlays/{overlay}; this takes some minutes.")
        print_release(runs.release(champion, overlay, image, why, context, bake_seconds, accept))
        return
    print_deployment(runs.deploy(champion, SERVING, target))


@app.command()
def rollback(
    *,
    target: Annotated[Target, Option(help="where to roll back")] = "local",
    overlay: Overlay = "local",
    context: Context = "",
    why: Why = "",
) -> None:
    """Make the previous champion the champion again, and serve it; on a cluster, return to its release."""
    from pipelines import runs
    from steps.model import REGISTRY

    if target == "kubernetes":
        print_release(runs.roll_back(overlay, why, context))
        return
    champion, previous = REGISTRY.require_champion(), REGISTRY.previous_champion()
    deployed = runs.deploy(previous, SERVING, target)
    REGISTRY.restore(previous)
    echo(f"Version {deployed.version} is the champion again, in the place of {champion.version}.")
    print_deployment(deployed)


@app.command()
def smoke(overlay: Overlay = "local", context: Context = "") -> None:
    """Post raw rows to a cluster's Service and compare its predictions with the champion's offline ones."""
    from steps.deploy import smoke_kubernetes

    champion = version_or_champion()
    difference = smoke_kubernetes(champion.version, overlay, context)
    parity = f"predictions differ from the offline ones by at most {difference:.1g}"
    echo(f"The Service serves version {champion.version}; its {parity}.")


@app.command()
def score(
    source: Annotated[str, Option("--input", help="a CSV or Parquet file, or database-url#table")] = "",
    target: Annotated[str, Option("--output", help="where to write the result, in the same forms")] = "",
    version: VersionName = "",
) -> None:
    """Score a batch of raw rows and write them with their predictions."""
    from pipelines import runs

    if not source or not target:
        raise UserError(
            'Name the input and the output: make score ARGS="--input rows.csv --output scored.csv"'
        )
    scored = runs.score(version_or_champion(version), source, target)
    decided = "".join(f", {rows:,} {decision}" for decision, rows in scored.decisions.items())
    echo(f"Rows scored to {target}: {scored.rows:,}{decided}.")
    if scored.quarantined:
        echo(f"Rows that violate the contract: {scored.quarantined:,}; {scored.quarantine} says why.")


@app.command(alone=True)
def monitor(
    as_of: Annotated[
        str,
        Option(
            metavar="YYYY-MM-DD",
            help="check only the period from this day on, as of its end; this replaces its page and its runs "
            "in Evidently and MLflow, but gauges, alerts and the retraining loop ignore it",
        ),
    ] = "",
) -> None:
    """Check drift and performance of all finished periods, and decide whether to train again."""
    from steps.monitor import export_no_requests

    loop = retraining_loop(SERVING)
    if as_of:
        results = [loop.check(as_of)]
    elif reason := loop.reason_to_wait():
        if reason != loop.no_champion:  # if the champion is missing, Prometheus has to raise its alert
            export_no_requests()
        echo(reason)
        return
    else:
        results = list(loop.monitor_all())
    echo(report().save_periods(results) if results else "No further period is over yet.")


@app.command(alone=True)
def retrain(
    *,
    as_of: Annotated[
        str, Option(metavar=DAY, help="the day to train as of; by default the end of the data")
    ] = "",
    if_asked: Annotated[bool, Option("--if-asked", help="only if the last verdict requires it")] = False,
) -> None:
    """Train again with the champion's settings."""
    from steps.monitor import reset_retrain_gauge

    loop = retraining_loop(SERVING)
    result = loop.follow_verdict() if if_asked else loop.retrain_now(as_of)
    if result is None:
        echo("No training is due: the last verdict was to keep the model, or it has been followed.")
        return
    reset_retrain_gauge()
    echo(report().save_retraining(result))


def retraining_loop(folder: str) -> "RetrainingLoop":
    """Return the retraining loop for the service in a folder, with this project's pipelines."""
    from fivestage.monitoring.retraining_loop import RetrainingLoop
    from fivestage.serving.service_settings import Settings
    from pipelines import runs

    return RetrainingLoop(PROBLEM.contract, folder, Settings.of_folder(folder).database_url, runs)


def train_from_scratch(as_of: str) -> "TrainingRun":
    """Train as if there were no champion, and print a notice if this replaces one."""
    from pipelines import runs
    from steps.model import REGISTRY

    champion = REGISTRY.champion()
    trained = runs.train(as_of, from_scratch=True)
    if champion and trained.promoted and trained.version.version != champion.version:
        echo(
            f"  version {trained.version.version} takes the place of the champion, {champion.version}, "
            "without a comparison, as this command starts from scratch; `make train` compares them."
        )
    return trained


def serve_and_simulate(trained: "TrainingRun", stages: DemoRun) -> None:
    """Serve a version from the demo's folder, simulate the following months, and write the report."""
    from pipelines import runs

    try:
        data, loop = trained.rows_and_events(), retraining_loop(stages.folder)
        stages.simulate(trained, data, loop, lambda one: runs.deploy(one, loop.folder))
    finally:  # also if the version failed its gates
        write_report(stages)


def version_or_champion(version: str = "") -> "Version":
    """Return the registered version with this number, or the champion if none is named."""
    from steps.model import REGISTRY

    return REGISTRY.find(version) if version else REGISTRY.require_champion()


def print_deployment(deployed: "Deployment") -> None:
    """Print the version that now serves on this machine, and where."""
    parity = f"its predictions differ from the offline ones by at most {deployed.difference:.1g}"
    echo(f"Version {deployed.version} serves at {deployed.url}; {parity}.")


def print_release(release: "Release") -> None:
    """Print the release that is now live, and the results of its canary."""
    for sentence in release.compared:
        echo(f"  canary, {sentence}")
    current = f"Release {release.number} serves version {release.model}, image {release.image}"
    before = f"before it was {release.previous}" if release.previous else "none is left to roll back to"
    echo(f"{current}; {before}.")


def write_report(stages: DemoRun | None = None) -> None:
    """Write report and model card, and print the stages; without a run, with the last run's times."""
    seconds, cached = (stages.seconds, stages.cached) if stages else (None, False)
    echo("\n" + report().write(seconds, cached=cached))


def report() -> "Report":
    """Return the report of this project."""
    from fivestage.reporting.report import Report

    return Report(PROBLEM)


if __name__ == "__main__":
    app.main()
