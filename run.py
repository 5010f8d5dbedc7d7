"""The project's commands, as `python run.py --help` lists them. Add one of your own here."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from fivestage.cli.application import Application, Stopwatch, say
from fivestage.cli.library_commands import SERVING, add_library_commands
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.files import one_at_a_time, write_whole
from fivestage.common.settings import DEMO, REPORTS, RESULTS, ROOT, VAR
from fivestage.contract.contract import day, day_of, epoch
from problem import PROBLEM

if TYPE_CHECKING:
    from fivestage.monitoring.retraining_loop import RetrainingLoop, TrainingResult
    from pipelines.runs import TrainingRun
    from steps.deploy import Released

PAGE = REPORTS / "index.html"
NOTICES = REPORTS / "notices"
CARD = ROOT / "docs" / "model_card.md"

AsOf = Annotated[str, Option(metavar="YYYY-MM-DD", help="the day to train as of; by default the latest")]
Overlay = Annotated[str, Option(help="a folder of k8s/overlays")]
Context = Annotated[str, Option(help="of kubectl; by default its current one")]
Why = Annotated[str, Option(help="a sentence for the record of releases")]
VersionName = Annotated[str, Option("--version", help="in place of the champion")]

app = Application(PROBLEM, "The commands of this project.")
add_library_commands(app)


@app.command()
def demo() -> None:
    """Run all five stages: data, training, evaluation, service, and the months after training."""
    from fivestage.reporting.task_display import rule
    from pipelines import runs

    contract = PROBLEM.contract
    watch, as_of = Stopwatch(), contract.split.test_start.isoformat()
    with watch.stage("problem", f"{contract.title} {rule(contract)}"):
        clear_demo()
    with watch.stage("data", "raw tables, quarantine, features as of each decision, leakage probes"):
        watch.cached = runs.ingest(as_of)
    with watch.stage("model", f"baselines, candidates, gates as of {as_of}, and the months after it"):
        trained = runs.train(as_of, from_scratch=True)
        print_gates(trained)
        runs.evaluate(trained.version)
    serve_and_simulate(trained, watch)
    write_report(watch.seconds, cached=watch.cached)


@app.command()
def simulate() -> None:
    """Train, then simulate the months after it against a running service."""
    from pipelines import runs

    watch = Stopwatch()
    clear_demo()
    serve_and_simulate(runs.train(PROBLEM.contract.split.test_start.isoformat(), from_scratch=True), watch)
    write_report(watch.seconds)


@app.command()
def backtest() -> None:
    """Compare policies of retraining over the whole period of the data."""
    from pydantic import TypeAdapter

    from fivestage.reporting import sentences
    from fivestage.reporting.results import PoliciesSection, load, save
    from fivestage.reporting.sections import policies_section
    from pipelines import runs

    found = policies_section(runs.compare_policies())
    save(found, RESULTS)
    short = replace(found, years=tuple(replace(one, by_day=()) for one in found.years))
    content = TypeAdapter(PoliciesSection).dump_json(short, indent=1)
    write_whole(REPORTS / "bench" / "year.json", lambda scratch: scratch.write_bytes(content))
    before = load(RESULTS).run
    write_report(before.seconds if before else {}, cached=before is not None and before.cached)
    say(sentences.policies(PROBLEM.contract, found))


@app.command()
def train(as_of: AsOf = "") -> None:
    """Train the candidates; the best becomes champion if it passes every gate."""
    from pipelines import runs

    print_gates(runs.train(as_of or PROBLEM.contract.split.test_start.isoformat()))


@app.command()
def evaluate(version: VersionName = "") -> None:
    """Evaluate the champion on everything after its own time, and write its model card."""
    from fivestage.registry import versions as registry
    from fivestage.reporting.results import load
    from pipelines import runs

    name = PROBLEM.contract.name
    runs.evaluate(registry.find(name, version) if version else registry.require_champion(name))
    before = load(RESULTS).run
    write_report(before.seconds if before else {})


@app.command()
def card(version: VersionName = "") -> None:
    """Write a version's model card, and the decisions behind it, to docs/."""
    from fivestage.registry import versions as registry
    from fivestage.reporting.decisions import decisions_text
    from fivestage.reporting.model_card import card_text
    from fivestage.reporting.results import load
    from steps.report import trained_section

    contract, results = PROBLEM.contract, load(RESULTS)
    found, artifact = registry.open_version(
        contract.name, version or registry.require_champion(contract.name).version
    )
    if results.model is None or results.model.digest != found.digest:
        results = replace(results, model=trained_section(found, artifact))
    for path, text in (
        (CARD, card_text(contract, results)),
        (CARD.with_name("decisions.md"), decisions_text(contract, results)),
    ):
        say(str(write_whole(path, partial(Path.write_text, data=text, encoding="utf-8"))))


@app.command()
def deploy(
    *,
    target: Annotated[Literal["local", "docker", "kubernetes"], Option(help="where to")] = "local",
    image: Annotated[str, Option(help="kubernetes: in place of the overlay's own")] = "",
    bake_seconds: Annotated[float, Option(help="that a canary shares traffic")] = 30,
    overlay: Overlay = "local",
    context: Context = "",
    why: Why = "",
) -> None:
    """Serve the champion if it passes the smoke test; what served before stays otherwise."""
    from fivestage.registry import versions as registry
    from pipelines import runs

    champion = registry.require_champion(PROBLEM.contract.name)
    if target == "kubernetes":
        say(f"Releasing version {champion.version} by k8s/overlays/{overlay}: some minutes.")
        print_release(runs.release(champion, overlay, image, why, context, bake_seconds))
        return
    deployed = runs.deploy(champion, SERVING, target)
    say(f"Version {deployed.version} answers at {deployed.url} as offline, to {deployed.difference:.0e}.")


@app.command()
def rollback(overlay: Overlay = "local", context: Context = "", why: Why = "") -> None:
    """Return a cluster's image, model and manifests to the release before, and the champion with them."""
    from pipelines import runs

    print_release(runs.roll_back(overlay, why, context))


@app.command()
def smoke(overlay: Overlay = "local", context: Context = "") -> None:
    """Post raw rows through a cluster's Service: it must answer as the champion did offline."""
    from fivestage.registry import versions as registry
    from steps.deploy import smoke_kubernetes

    champion = registry.require_champion(PROBLEM.contract.name)
    difference = smoke_kubernetes(champion.version, overlay, context)
    say(f"The Service answers as version {champion.version} did offline, to {difference:.0e}.")


@app.command()
def score(
    source: Annotated[str, Option("--input", help="a CSV or Parquet file, or database-url#table")] = "",
    target: Annotated[str, Option("--output", help="likewise")] = "",
) -> None:
    """Score a batch: raw rows in, the same rows with predictions out."""
    from fivestage.registry import versions as registry
    from pipelines import runs

    if not source or not target:
        raise UserError(
            'Name what to score and where to: make score ARGS="--input rows.csv --output scored.csv"'
        )
    scored = runs.score(registry.require_champion(PROBLEM.contract.name), source, target)
    decided = "".join(f", {rows:,} {decision}" for decision, rows in scored.decisions.items())
    say(f"{scored.rows:,} rows scored to {target}{decided}.")
    if scored.quarantined:
        say(f"{scored.quarantined:,} rows break the contract; {scored.quarantine} says why.")


@app.command()
def monitor(
    as_of: Annotated[str, Option(metavar="YYYY-MM-DD", help="a period from this day on; not kept")] = "",
) -> None:
    """Drift and performance of the periods that are over, and whether to train again."""
    from fivestage.monitoring.retraining_loop import NO_REQUESTS
    from fivestage.reporting.notices import period_lines, period_notice, write_notice
    from pipelines import runs
    from steps.monitor import nothing_watched, page_of

    contract, loop = PROBLEM.contract, retraining_loop(SERVING)
    with one_at_a_time(VAR / "monitor.lock", "`make monitor`"):
        if as_of:
            start = epoch(day(as_of))
            seen = [runs.monitor(SERVING, start, start + contract.monitoring.period_days * DAY)]
        elif reason := loop.reason_to_wait():
            if reason == NO_REQUESTS:  # of a missing champion Prometheus hears nothing, and its alert fires
                nothing_watched()
            say(reason)
            return
        else:
            seen = list(loop.monitor_all())
    if not seen:
        say("No further period is over yet.")
        return
    for watched, verdict in seen:
        for line in period_lines(watched, verdict, page_of(watched.start)):
            say(line)
    say(f"{write_notice(period_notice(contract, seen), NOTICES / 'monitoring.md')} has the summary.")


@app.command()
def retrain(
    *,
    as_of: AsOf = "",
    if_asked: Annotated[bool, Option("--if-asked", help="only what the last verdict asks for")] = False,
) -> None:
    """Train again with the champion's settings."""
    from fivestage.reporting.notices import evaluation_notice, write_notice
    from steps.monitor import no_longer_wanted

    loop = retraining_loop(SERVING)
    with one_at_a_time(VAR / "retrain.lock", "`make retrain`"):
        result = loop.follow_verdict() if if_asked else loop.retrain_now(as_of)
        if result is None:
            say("No training is due: the last verdict was to keep the model, or it has been followed.")
            return
        no_longer_wanted()
    print_gates(result)
    version, at = result.version, str(day_of(result.version.as_of))
    notice = evaluation_notice(PROBLEM.contract, version.version, result.gates, at, promoted=result.promoted)
    say(f"{write_notice(notice, NOTICES / 'retraining.md')} has the summary.")


def retraining_loop(folder: str) -> "RetrainingLoop":
    """The loop around the service in a folder, with this project's pipelines."""
    from fivestage.deployment.local_process import settings_in
    from fivestage.monitoring.retraining_loop import RetrainingLoop
    from pipelines import runs

    return RetrainingLoop(PROBLEM.contract, folder, settings_in(folder).database_url, runs)


def clear_demo() -> None:
    """End what an earlier demo left, and make sure that the service can listen before anything is trained."""
    from fivestage.deployment.local_process import settings_in, stop
    from fivestage.deployment.service_client import require_free_port

    settings = settings_in(str(DEMO))
    stop(settings)
    shutil.rmtree(DEMO, ignore_errors=True)
    require_free_port(settings)


def serve_and_simulate(trained: "TrainingRun", watch: Stopwatch) -> None:
    """Serve a version from a folder of its own, and simulate the months after it.

    Raises:
        UserError: when the version did not pass its gates; the report is written without the service.
    """
    from fivestage.cli.simulation import Simulation
    from fivestage.deployment.local_process import settings_in, stop
    from fivestage.reporting.results import MonitoringSection, ServingSection, forget
    from fivestage.reporting.sentences import ADVICE
    from pipelines import runs
    from steps.monitor import page_of

    if not trained.promoted:
        forget(ServingSection, RESULTS)
        forget(MonitoringSection, RESULTS)
        write_report(watch.seconds, cached=watch.cached)
        failed = ", ".join(gate.name for gate in trained.gates if not gate.passed)
        if not failed:
            raise UserError(
                "The model passed its gates and waits for approval: make approve, then make deploy."
            )
        raise UserError(
            f"The model did not pass its gates ({failed}), so nothing is served; {PAGE} shows how it did. "
            f"{ADVICE}"
        )
    settings, folder = settings_in(str(DEMO)), str(DEMO)
    try:
        with watch.stage("serving", f"version {trained.version.version} as a process of this machine"):
            deployed = runs.deploy(trained.version, folder)
            say(f"  {deployed.url} answers as offline, to {deployed.difference:.0e}")
        with watch.stage("monitoring", "the months after training, a period at a time"):
            Simulation(
                PROBLEM.contract,
                settings,
                retraining_loop(folder),
                deploy=lambda version: runs.deploy(version, folder),
                page_of=page_of,
                say=lambda line: say(f"  {line}"),
            ).run(trained.version, *trained.rows_and_events())
    finally:
        stop(settings)


def print_gates(result: "TrainingResult") -> None:
    """Print the gates and the outcome."""
    for gate in result.gates:
        say(f"  {'pass' if gate.passed else 'FAIL'}  {gate.name}: {gate.sentence}")
    waits = "waits for approval: make approve" if result.passed else "stays challenger"
    say(f"  version {result.version.version} {'is the champion' if result.promoted else waits}")


def print_release(done: "Released") -> None:
    """Print what serves now, and how its canary did."""
    for sentence in done.compared:
        say(f"  canary, {sentence}")
    one = done.release
    say(f"Release {one.number} serves version {one.model}, image {one.image}; before it was {one.previous}.")


def write_report(seconds: dict[str, float], *, cached: bool = False) -> None:
    """Write the report and the model card, and print the table by stage."""
    from fivestage.reporting.report import write_report as write

    say("\n" + write(PROBLEM.contract, seconds, PAGE, RESULTS, cached=cached))


if __name__ == "__main__":
    app.main()
