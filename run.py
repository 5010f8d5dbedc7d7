"""The verbs: `python run.py VERB`; `make VERB` sets up first. `python run.py --help` lists them."""

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.files import one_at_a_time, write_whole
from fivestage.common.settings import DEMO, REPORTS, RESULTS, ROOT, VAR, ensure_writable, prepare_environment
from fivestage.contract.contract import day, day_of, epoch
from problem import PROBLEM

if TYPE_CHECKING:
    from fivestage.monitoring.period_watch import Watched
    from fivestage.monitoring.policy import RetrainingDecision
    from pipelines.runs import Trained
    from steps.deploy import Released

SERVING = str(VAR / "serving")
PAGE = REPORTS / "index.html"
NOTICES = REPORTS / "notices"
CARD = ROOT / "docs" / "model_card.md"
INTERRUPTED = 130
ZENML_PORT = "8237"


class Clock:
    """Tells progress, and how long each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cached = False

    @contextmanager
    def stage(self, name: str, sentence: str) -> Iterator[None]:
        """Time a stage."""
        say(f"{name}: {sentence}")
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def say(sentence: str) -> None:
    """Print a line of progress."""
    print(sentence, flush=True)


def demo(_: argparse.Namespace) -> None:
    """Live through the five stages on the default data, and write the page."""
    from fivestage.reporting.task_words import rule
    from pipelines import runs

    contract = PROBLEM.contract
    clock, as_of = Clock(), contract.split.test_start.isoformat()
    with clock.stage("problem", f"{contract.title} {rule(contract)}"):
        clear_demo()
    with clock.stage("data", "raw tables, quarantine, features as of each decision, leakage probes"):
        clock.cached = runs.ingest(as_of)
    with clock.stage("model", f"baselines, candidates, the contest as of {as_of}, and the months after it"):
        trained = runs.train(as_of, afresh=True)
        tell_contest(trained)
        runs.evaluate(trained.version)
    live(trained, clock)
    write_report(clock.seconds, cached=clock.cached)


def simulate(_: argparse.Namespace) -> None:
    """Simulate the months after training against a running service, with monitoring and retraining."""
    from pipelines import runs

    clock = Clock()
    clear_demo()
    live(runs.train(PROBLEM.contract.split.test_start.isoformat(), afresh=True), clock)
    write_report(clock.seconds)


def backtest(_: argparse.Namespace) -> None:
    """Compare retraining policies over the data's whole period, and write the report anew."""
    from pydantic import TypeAdapter

    from fivestage.monitoring.backtest import told
    from fivestage.reporting import words
    from fivestage.reporting.results import PoliciesSection, load, save
    from pipelines import runs

    found = told(runs.compare())
    save(found, RESULTS)
    short = replace(found, years=tuple(replace(one, by_day=()) for one in found.years))
    content = TypeAdapter(PoliciesSection).dump_json(short, indent=1)
    write_whole(REPORTS / "bench" / "year.json", lambda scratch: scratch.write_bytes(content))
    before = load(RESULTS).run
    write_report(before.seconds if before else {}, cached=before is not None and before.cached)
    say(words.policies(PROBLEM.contract, found))


def clear_demo() -> None:
    """End what an earlier demo left, and make sure that the service can listen before anything is trained."""
    from fivestage.deployment.local_process import stop
    from fivestage.deployment.service_client import require_free_port
    from steps.deploy import settings_in

    settings = settings_in(str(DEMO))
    stop(settings)
    shutil.rmtree(DEMO, ignore_errors=True)
    require_free_port(settings)


def live(trained: "Trained", clock: Clock) -> None:
    """Serve a version from a folder of its own, and live through the months after it.

    Raises:
        UserError: when the version did not pass its gates; the page is written, without what it cannot have.
    """
    from fivestage.deployment.local_process import stop
    from fivestage.reporting.results import MonitoringSection, ServingSection, forget
    from fivestage.reporting.words import ADVICE
    from pipelines import runs
    from pipelines.replay import replay as live_through
    from steps.deploy import settings_in

    if not trained.promoted:
        forget(ServingSection, RESULTS)
        forget(MonitoringSection, RESULTS)
        write_report(clock.seconds, cached=clock.cached)
        failed = ", ".join(gate.name for gate in trained.contest.gates if not gate.passed)
        if not failed:
            raise UserError(
                "The model passed its gates and waits for approval: make approve, then make deploy."
            )
        raise UserError(
            f"The model did not pass its gates ({failed}), so nothing is served; {PAGE} shows how it did. "
            f"{ADVICE}"
        )
    try:
        with clock.stage("serving", f"version {trained.version.version} as a process of this machine"):
            deployed = runs.deploy(trained.version, str(DEMO))
            say(f"  {deployed.url} answers as offline, to {deployed.difference:.0e}")
        with clock.stage("monitoring", "the months after training, a period at a time"):
            live_through(trained, str(DEMO), lambda line: say(f"  {line}"))
    finally:
        stop(settings_in(str(DEMO)))


def train(options: argparse.Namespace) -> None:
    """Data, features, candidates, contest: a new champion if it passes every gate."""
    from pipelines import runs

    tell_contest(runs.train(options.as_of or PROBLEM.contract.split.test_start.isoformat()))


def retrain(options: argparse.Namespace) -> None:
    """Train again with the champion's settings, by default as of the latest day that is known of."""
    from fivestage.reporting.notice import write_notice
    from fivestage.reporting.notices import contest_notice
    from pipelines import runs

    with one_at_a_time(VAR / "retrain.lock", "`make retrain`"):
        trained = runs.act(SERVING) if options.if_asked else runs.retrain_now(SERVING, options.as_of or "")
    if trained is None:
        say("Nothing is asked for: the last verdict was to keep the model, or it has been followed.")
        return
    tell_contest(trained)
    version, gates = trained.version, trained.contest.gates
    day_of_it = str(day_of(version.as_of))
    notice = contest_notice(PROBLEM.contract, version.version, gates, day_of_it, promoted=trained.promoted)
    say(f"{write_notice(notice, NOTICES / 'retraining.md')} tells it to others.")


def approve(options: argparse.Namespace) -> None:
    """Promote the version that passed its gates and waits for a person's approval."""
    from fivestage.registry.versions import approve as approved

    version = approved(PROBLEM.contract.name, options.by)
    say(f"Version {version.version} is the champion, approved by {options.by}: `make deploy` serves it.")


def evaluate(options: argparse.Namespace) -> None:
    """The champion on everything after its own time, and its model card."""
    from fivestage.registry.versions import open_version
    from fivestage.reporting.results import load
    from pipelines import runs

    version = (
        open_version(PROBLEM.contract.name, options.version)[0] if options.version else runs.champion_of()
    )
    runs.evaluate(version)
    before = load(RESULTS).run
    write_report(before.seconds if before else {})


def card(options: argparse.Namespace) -> None:
    """Write a version's model card to docs/: of the champion, or of another, evaluated or not yet."""
    from fivestage.registry.versions import open_version
    from fivestage.reporting.card import card_text
    from fivestage.reporting.results import load
    from pipelines import runs
    from steps.report import model_of

    contract, results = PROBLEM.contract, load(RESULTS)
    found, artifact = open_version(contract.name, options.version or runs.champion_of().version)
    if results.model is None or results.model.digest != found.digest:
        results = replace(results, model=model_of(found, artifact, contract))
    text = card_text(contract, results)
    say(f"{write_whole(CARD, lambda scratch: scratch.write_text(text, encoding='utf-8'))}")


def deploy(options: argparse.Namespace) -> None:
    """Serve the champion: a process, a container, or Kubernetes; what served stays if a check fails."""
    from pipelines import runs

    if options.target == "kubernetes":
        champion = runs.champion_of()
        say(f"Releasing version {champion.version} by k8s/overlays/{options.overlay}: some minutes.")
        asked = options.overlay, options.image, options.why, options.context, options.bake_seconds
        tell_release(runs.release(champion, *asked))
        return
    deployed = runs.deploy(runs.champion_of(), SERVING, options.target)
    say(f"Version {deployed.version} answers at {deployed.url} as offline, to {deployed.difference:.0e}.")


def rollback(options: argparse.Namespace) -> None:
    """Return a cluster's image, model and manifests to the release before, and the champion with them."""
    from pipelines import runs

    tell_release(runs.roll_back(options.overlay, options.why, options.context))


def smoke(options: argparse.Namespace) -> None:
    """Post raw rows through a cluster's Service: it must answer as the champion did offline."""
    from fivestage.registry import versions as registry
    from steps.deploy import ask_kubernetes

    champion = registry.crowned(PROBLEM.contract.name)
    difference = ask_kubernetes(champion.version, options.overlay, options.context)
    say(f"The Service answers as version {champion.version} did offline, to {difference:.0e}.")


def image(options: argparse.Namespace) -> None:
    """Build the images: the service with the champion inside, and the one that runs these verbs."""
    from fivestage.deployment.images import build_pipelines, build_serving
    from fivestage.registry.versions import fetch
    from pipelines import runs

    if options.without_model:
        say(build_serving())
    else:
        champion = runs.champion_of()
        say(build_serving(fetch(champion.name, champion.version), champion.version))
    say(build_pipelines())


def push(options: argparse.Namespace) -> None:
    """Push both images to a registry, and print what pulls exactly them, as a workflow's outputs."""
    from fivestage.deployment.push import push_images

    for name, pinned in push_images(options.registry).items():
        short, (repository, _, digest) = name.rpartition("-")[2], pinned.partition("@")
        say(f"{short}={pinned}\n{short}_name={repository}\n{short}_digest={digest}")


def fetch(_: argparse.Namespace) -> None:
    """Bring the champion, and its challenger as a shadow, into SERVE_FOLDER of a service that starts next."""
    from fivestage.deployment.local_process import shadow, switch
    from fivestage.registry import versions as registry
    from fivestage.serving.settings import Settings

    champion, settings = registry.crowned(PROBLEM.contract.name), Settings.from_environment()
    folder = registry.fetch(champion.name, champion.version, settings.folder / "models")
    switch(settings, champion.version, folder)
    say(f"{settings.pointer} names version {champion.version}.")
    if challenger := registry.challenger(champion.name):
        folder = registry.fetch(challenger.name, challenger.version, settings.folder / "models")
        shadow(settings, challenger.version, folder)
        say(f"{settings.shadow_pointer} names version {challenger.version}.")


def serve(_: argparse.Namespace) -> None:
    """Serve the champion in the foreground, until it is told to stop."""
    from fivestage.deployment.local_process import switch
    from fivestage.deployment.service_client import require_free_port, url
    from fivestage.registry.versions import fetch
    from fivestage.serving.settings import PREFIX
    from pipelines import runs
    from steps.deploy import settings_in

    champion, settings = runs.champion_of(), settings_in(SERVING)
    require_free_port(settings)
    switch(settings, champion.version, fetch(champion.name, champion.version))
    say(f"Version {champion.version} at {url(settings)}; /docs describes it. Ctrl-C stops it.")
    os.chdir(ROOT)
    os.environ[f"{PREFIX}FOLDER"] = SERVING
    os.execv(sys.executable, [sys.executable, "-m", "serving"])  # noqa: S606 (this very interpreter)


def stop(_: argparse.Namespace) -> None:
    """Stop the service that `deploy` has started, or that a killed demo has left."""
    from fivestage.deployment import docker_container as docker
    from fivestage.deployment import local_process as local
    from steps.deploy import settings_in

    folders = (settings_in(SERVING), settings_in(str(DEMO)))
    stopped = [local.stop(settings) for settings in folders] + [docker.stop(folders[0])]
    say("The service is stopped." if any(stopped) else "No service of ours runs.")


def score(options: argparse.Namespace) -> None:
    """Score a CSV or Parquet file, or a table (`database-url#table`), with the champion."""
    from pipelines import runs

    if not options.input or not options.output:
        raise UserError(
            'Name what to score and where to: make score ARGS="--input rows.csv --output scored.csv"'
        )
    scored = runs.score(runs.champion_of(), options.input, options.output)
    decided = "".join(f", {rows:,} {decision}" for decision, rows in scored.decisions.items())
    say(f"{scored.rows:,} rows scored to {options.output}{decided}.")
    if scored.quarantined:
        say(f"{scored.quarantined:,} rows break the contract; {scored.quarantine} says why.")


def monitor(options: argparse.Namespace) -> None:
    """Watch the periods that are over, or the one from a day on, which is then not remembered."""
    from fivestage.reporting.notice import write_notice
    from fivestage.reporting.notices import period_notice
    from pipelines import runs

    contract = PROBLEM.contract
    with one_at_a_time(VAR / "monitor.lock", "`make monitor`"):
        if options.as_of:
            start = epoch(day(options.as_of))
            seen = [runs.monitor(SERVING, start, start + contract.monitoring.period_days * DAY)]
        elif reason := runs.nothing_to_watch(SERVING):
            say(reason)
            return
        else:
            seen = []
            while one := runs.monitor_next(SERVING):  # more than one: nobody ran this in time
                seen.append(one)
                if not runs.another_is_over(SERVING):
                    break
    if not seen:
        say("No further period is over yet.")
        return
    for one in seen:
        tell_period(*one)
    say(f"{write_notice(period_notice(contract, seen), NOTICES / 'monitoring.md')} tells it to others.")


def tell_period(watched: "Watched", verdict: "RetrainingDecision") -> None:
    """Print how a period went, and what to do."""
    from steps.monitor import page_of

    say(f"From {day_of(watched.start)} to {day_of(watched.end)}: {watched.performance.sentence}.")
    for cause in watched.causes:
        say(f"  {cause.kind}: {cause.sentence}")
    asked = verdict.retrain or verdict.promote
    advice = 'make retrain ARGS="--if-asked"' if asked else "keep the model"
    report = f" The drift report is {page_of(watched.start)}." if watched.performance.rows else ""
    say(f"{advice}: {verdict.reason}.{report}")


def ui(options: argparse.Namespace) -> None:
    """Open MLflow's pages; `--which zenml` for those of ZenML."""
    from fivestage.orchestration.databases import skip_zenml_survey

    if options.which == "zenml":  # its server needs another FastAPI than ours: an environment of its own
        if not os.environ["ZENML_STORE_URL"].startswith("sqlite:"):
            raise UserError(f"Your ZenML server has pages of its own, at {os.environ['ZENML_STORE_URL']}.")
        skip_zenml_survey()
        os.environ |= {"ZENML_SERVER_AUTH_SCHEME": "NO_AUTH", "ZENML_SERVER_DEPLOYMENT_TYPE": "local"}
        server = ["--from", f"zenml[server]=={version('zenml')}"]
        program = ["uvicorn", "zenml.zen_server.zen_server_api:app", "--port", ZENML_PORT]
        say(f"ZenML's pages: http://127.0.0.1:{ZENML_PORT}")
        os.execv(sys.executable, [sys.executable, "-m", "uv", "tool", "run", *server, *program])  # noqa: S606
    store = os.environ["MLFLOW_TRACKING_URI"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store])  # noqa: S606


def tell_release(done: "Released") -> None:
    """Print what serves now, and how its canary did."""
    for sentence in done.compared:
        say(f"  canary, {sentence}")
    one = done.release
    say(f"Release {one.number} serves version {one.model}, image {one.image}; before it was {one.previous}.")


def tell_contest(trained: "Trained") -> None:
    """Print the gates and the outcome."""
    from steps.model import gate_lines

    for line in gate_lines(trained.contest).splitlines():
        say(f"  {line}")
    waits = "waits for approval: make approve" if trained.contest.passed else "stays challenger"
    outcome = "is the champion" if trained.promoted else waits
    say(f"  version {trained.version.version} {outcome}")


def write_report(seconds: dict[str, float], *, cached: bool = False) -> None:
    """Write the page and the card of the model, once there is one, and print the table by stage."""
    from fivestage.reporting.card import card_text
    from fivestage.reporting.page import write_page
    from fivestage.reporting.results import ReportLink, RunSection, load, save
    from fivestage.reporting.summary import summary

    contract, card = PROBLEM.contract, REPORTS / "model_card.md"
    links = (
        *([ReportLink("Model card", path=card.name)] if load(RESULTS).model else []),
        ReportLink("MLflow: runs, versions, artifacts", command="make ui"),
        ReportLink("ZenML: pipelines, steps, lineage", command='make ui ARGS="--which zenml"'),
        *([ReportLink("The service", command="make serve")] if load(RESULTS).serving else []),
    )
    save(RunSection(seconds, links, cached), RESULTS)
    results = load(RESULTS)
    if results.model:
        text = card_text(contract, results)
        write_whole(card, lambda scratch: scratch.write_text(text, encoding="utf-8"))
    write_page(contract, results, PAGE)
    say("\n" + summary(contract, results, PAGE))


def init(options: argparse.Namespace) -> None:
    """Inspect a table and write problem/ for it, and what is generated from its contract."""
    from fivestage.scaffold.command import start

    for line in start(options):
        say(line)
    alerts(options)
    size(options)
    say("Rules, dashboard and manifests follow the contract. Look in it for RECONSIDER, then: make demo")


def alerts(_: argparse.Namespace) -> None:
    """Write the Prometheus rules and the Grafana dashboard that follow from the contract."""
    from fivestage.monitoring.alerts import write_all

    write_all(PROBLEM.contract)


def size(_: argparse.Namespace) -> None:
    """Write replicas, requests and schedules of k8s/, from the contract and what was measured."""
    from fivestage.capacity.size import size as write_size

    say(write_size(PROBLEM.contract))


VERBS = (
    init,
    alerts,
    size,
    demo,
    train,
    evaluate,
    card,
    image,
    push,
    deploy,
    rollback,
    smoke,
    fetch,
    serve,
    stop,
    score,
    monitor,
    retrain,
    approve,
    backtest,
    simulate,
    ui,
)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The verb and its options."""
    parser = argparse.ArgumentParser(prog="run.py", description="The verbs of the project.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS:
        one = verbs.add_parser(verb.__name__, help=(verb.__doc__ or "").strip())
        one.set_defaults(run=verb)
        add_loop(one, verb)
        if verb is init:
            from fivestage.scaffold.command import add_options

            add_options(one)
        if verb is score:
            one.add_argument("--input", help="a CSV or Parquet file, or database-url#table")
            one.add_argument("--output", help="likewise")
        add_delivery(one, verb)
        if verb in (evaluate, card):
            one.add_argument("--version", default="", help="in place of the champion")
        if verb is ui:
            one.add_argument("--which", choices=("mlflow", "zenml"), default="mlflow")
    return parser.parse_args(arguments)


def add_loop(one: argparse.ArgumentParser, verb: Callable[[argparse.Namespace], None]) -> None:
    """Add the options of the verbs that train, watch and train again."""
    if verb in (train, retrain, monitor):
        about = "the first day of the period to watch" if verb is monitor else "the day to stand on"
        one.add_argument("--as-of", metavar="YYYY-MM-DD", help=about)
    if verb is retrain:
        one.add_argument("--if-asked", action="store_true", help="only what the last verdict asks for")
    if verb is approve:
        one.add_argument("--by", default="", help="who approves")


def add_delivery(one: argparse.ArgumentParser, verb: Callable[[argparse.Namespace], None]) -> None:
    """Add the options of the verbs that build, push, deploy and roll back."""
    if verb is deploy:
        one.add_argument("--target", choices=("local", "docker", "kubernetes"), default="local")
        one.add_argument("--image", default="", help="kubernetes: in place of the overlay's own")
        one.add_argument("--bake-seconds", type=float, default=30, help="that a canary shares traffic")
    if verb in (deploy, rollback, smoke):
        one.add_argument("--overlay", default="local", help="a folder of k8s/overlays")
        one.add_argument("--context", default="", help="of kubectl; by default its current one")
    if verb in (deploy, rollback):
        one.add_argument("--why", default="", help="a sentence for the record of releases")
    if verb is image:
        one.add_argument("--without-model", action="store_true", help="for a model fetched at start")
    if verb is push:
        one.add_argument(
            "--registry", default=os.environ.get("REGISTRY", ""), help="such as ghcr.io/team/project"
        )


def perform(options: argparse.Namespace) -> None:
    """Run a verb with the project's own stores."""
    if options.run is init:  # there is no contract yet, or another one
        init(options)
        return
    _ = PROBLEM.contract  # what is wrong with it is said before anything heavy is imported
    prepare_environment()
    ensure_writable(REPORTS)
    if options.run is fetch:  # a pod waits for it, and it needs the registry alone
        fetch(options)
        return
    from zenml.exceptions import RunInterruptedException

    from fivestage.orchestration.databases import open_stores, use_stack

    open_stores()
    if "FIVESTAGE_STACK" in os.environ:
        use_stack(Path(os.environ["FIVESTAGE_STACK"]))
    try:
        options.run(options)
    except RunInterruptedException as error:  # what ZenML makes of Ctrl-C
        raise KeyboardInterrupt from error


def main(arguments: list[str]) -> int:
    """Run a verb; a sentence and 1 when it cannot be done."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as with Ctrl-C, leaving nothing running
    try:
        perform(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
