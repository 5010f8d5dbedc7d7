"""Summary table printed in the terminal at the end of a run."""

from pathlib import Path
from textwrap import wrap

from fivestage.contract.contract import Contract
from fivestage.reporting import number_format as fmt
from fivestage.reporting import sentences, task_display
from fivestage.reporting.results import DataSection, ModelSection, MonitoringSection, Results, ServingSection
from fivestage.reporting.sentences import STAGES

WIDTH = 100
_NAME, _TEXT, _PLACE = 14, 60, 22


def summary(contract: Contract, results: Results, page: Path) -> str:
    """Summarise a run by stage: decision, numbers, duration, and where to find the code."""
    seconds = results.run.seconds if results.run else {}
    rows = [*wrap(contract.title, WIDTH), _row(["stage"], ["decision and numbers"], ["where to look"])]
    for number, stage in enumerate(STAGES, start=1):
        duration = [f"  {fmt.seconds(seconds[stage.name])}"] if stage.name in seconds else []
        text = [
            line for sentence in _sentences(stage.name, contract, results) for line in wrap(sentence, _TEXT)
        ]
        rows.append(_row([f"{number} {stage.title}", *duration], text, list(stage.places)))
    card = [f"Model card: {page.with_name(sentences.CARD)}"] if results.model else []
    programs = [f"{title}: {command}" for title, command in sentences.PROGRAMS]
    service = [f"The service: {sentences.SERVE}"] if results.serving else []
    rows.append("\n".join([f"Report: {page}", *card, *programs, *service]))
    return f"\n{'-' * WIDTH}\n".join(rows) + "\n"


def _row(name: list[str], text: list[str], place: list[str]) -> str:
    height = max(len(name), len(text), len(place))
    columns = [cells + [""] * (height - len(cells)) for cells in (name, text, place)]
    lines = (f"{a:<{_NAME}}{b:<{_TEXT}}  {c:<{_PLACE}}".rstrip() for a, b, c in zip(*columns, strict=True))
    return "\n".join(lines)


def _sentences(stage: str, contract: Contract, results: Results) -> list[str]:
    match getattr(results, stage):
        case DataSection() as data:
            return [sentences.data(contract, data)]
        case ModelSection() as model:
            names = [one for one in task_display.shown_of(contract).summary if one in model.test]
            metrics = [f"{fmt.metric_title(one)} {fmt.estimate(one, model.test[one])}" for one in names]
            return [sentences.model(contract, model), f"Test window: {', '.join(metrics)}."]
        case ServingSection() as serving:
            p50, p99 = fmt.decimal(serving.p50_ms, 1), fmt.decimal(serving.p99_ms, 1)
            return [
                sentences.serving(serving),
                f"A one-row request took {p50} ms (median) and {p99} ms (p99).",
            ]
        case MonitoringSection() as monitoring:
            return [sentences.monitoring(contract, monitoring)]
    if stage != "problem":
        return [sentences.not_run(results, stage)]
    return [task_display.rule(contract), sentences.stale(contract, results)]
