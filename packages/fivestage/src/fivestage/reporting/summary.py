"""The short table at the end of a run, for the terminal."""

from pathlib import Path
from textwrap import wrap

from fivestage.contract.contract import Contract
from fivestage.reporting import format as say
from fivestage.reporting import task_words as tasks
from fivestage.reporting import words
from fivestage.reporting.results import (
    DataSection,
    Estimate,
    ModelSection,
    MonitoringSection,
    Results,
    ServingSection,
)
from fivestage.reporting.stages import STAGES

WIDTH = 100
_NAME, _TEXT, _PLACE = 14, 60, 22


def summary(contract: Contract, results: Results, page: Path) -> str:
    """Stage by stage: what was decided, the numbers, where to look; in 100 columns, but for long paths."""
    spent = results.run.seconds if results.run else {}
    rows = [*wrap(contract.title, WIDTH), _row(["stage"], ["decision and numbers"], ["where to look"])]
    for number, stage in enumerate(STAGES, start=1):
        took = [f"  {say.seconds(spent[stage.name])}"] if stage.name in spent else []
        text = [
            line for sentence in _sentences(stage.name, contract, results) for line in wrap(sentence, _TEXT)
        ]
        rows.append(_row([f"{number} {stage.title}", *took], text, list(stage.places)))
    links = results.run.links if results.run else ()
    opened = [f"{link.title}: {page.parent / link.path if link.path else link.command}" for link in links]
    rows.append("\n".join([f"Page: {page}", *opened]))
    return f"\n{'-' * WIDTH}\n".join(rows) + "\n"


def _row(name: list[str], text: list[str], place: list[str]) -> str:
    height = max(len(name), len(text), len(place))
    columns = [cells + [""] * (height - len(cells)) for cells in (name, text, place)]
    lines = (f"{a:<{_NAME}}{b:<{_TEXT}}  {c:<{_PLACE}}".rstrip() for a, b, c in zip(*columns, strict=True))
    return "\n".join(lines)


def _sentences(stage: str, contract: Contract, results: Results) -> list[str]:
    match getattr(results, stage):
        case DataSection() as data:
            return [words.data(contract, data)]
        case ModelSection() as model:
            return [words.model(contract, model), _scores(model.test, contract)]
        case ServingSection() as serving:
            p50, p99 = say.decimal(serving.p50_ms, 1), say.decimal(serving.p99_ms, 1)
            return [words.serving(serving), f"A one-row request took {p50} ms (median) and {p99} ms (p99)."]
        case MonitoringSection() as monitoring:
            return [words.monitoring(contract, monitoring)]
    if stage != "problem":
        return [words.not_run(results, stage)]
    return [tasks.rule(contract), words.stale(contract, results)]


def _scores(test: dict[str, Estimate], contract: Contract) -> str:
    names = tasks.shown_of(contract).summary
    shown = [f"{say.metric_title(name)} {say.estimate(name, test[name])}" for name in names if name in test]
    return f"On the test window: {', '.join(shown)}."
