"""Notes about a table for the user of `make init`, in addition to the written files."""

from collections.abc import Iterator

from fivestage.common.settings import ROOT
from fivestage.data.source import local_path
from fivestage.reporting.number_format import plural
from fivestage.scaffold.column_profiles import ColumnProfile, listed
from fivestage.scaffold.draft import Draft
from fivestage.scaffold.gates_plan import FEW_LABELS

UNKNOWN = ("unknown", "n/a", "na", "missing", "not known", "unclear", "undefined", "unbekannt", "k.a.")
MOST_SHOWN = 6
FEWEST_CLASSES = 3  # from which on one of them may mean an unknown outcome


def notes_of(found: Draft) -> Iterator[str]:
    """Yield sentences, one per finding."""
    yield from found.reader.notes
    place = local_path(found.options.data)
    if place and not place.resolve().is_relative_to(ROOT):
        yield (
            "The table lies outside the project, where CI and the cluster cannot read it: copy it into data/ "
            f"of the project and run `make init` again with DATA=data/{place.name}, or store it in a bucket "
            "or a database. docs/how-to/your-own-table.md: Where CI and the cluster find the table."
        )
    yield from _of_rows(found)
    for header, evidence in found.evidence.items():
        yield f"{header} is kept, though {evidence}: the page and the model card will say so."
    if found.telling and not found.evidence:
        measure = "ROC-AUC" if found.target.classes else "R2"
        yield (
            f"A quick model has {measure} {found.reached:.3f}, mostly by "
            f"{', '.join(map(repr, found.telling))}. If that is written with the outcome or after it, it is "
            f"a leak: LEAVE_OUT={listed(list(found.telling))!r}."
        )
    renamed = [
        f"{one.header!r} is {one.name}" for one in found.features if one.header.strip().lower() != one.name
    ]
    if renamed:
        more = f", and {len(renamed) - MOST_SHOWN} more" if len(renamed) > MOST_SHOWN else ""
        yield f"Names in the contract: {', '.join(renamed[:MOST_SHOWN])}{more}."
    group, time = found.options.group, found.options.time
    if group and time:
        yield f"GROUP={group} is for tables without TIME: here, windows go by {time}."
    yield from _of_times(found)
    for column in found.features:
        yield from _of_column(column)
    yield from _of_target(found)


def _of_rows(found: Draft) -> Iterator[str]:
    if found.unlabelled:
        rows = plural(found.unlabelled, "row")
        yield f"{rows} without a target left out: they cannot be used for training."
    if found.untimed:
        rows = plural(found.untimed, "row")
        yield f"{rows} quarantined: no readable time in {found.options.time}."
    if found.identifier:
        yield f"{found.identifier.header} identifies the rows and is not used as a feature."
    repeated = plural(found.repeated, "repeated row")
    if found.repeated and found.drop_repeated:
        yield f"{repeated} left out: DUPLICATES=keep keeps duplicate rows."
    elif found.repeated:
        yield f"{repeated} kept: with few columns, equal rows occur by chance."


def _of_times(found: Draft) -> Iterator[str]:
    options, windows = found.options, found.windows
    of_options = [found.found[header] for header in (options.time, options.known) if header]
    times = dict.fromkeys(one.header for one in (*of_options, *found.features) if one.zoneless)
    if times and not options.zone:
        yield (
            f"Times without a zone are taken as UTC: {', '.join(times)}. Where they are local, name their "
            "zone: ZONE=Europe/Berlin, or `ZONE` in problem/dataset.py."
        )
    elif times:
        yield f"Times without a zone are those of {options.zone}: {', '.join(times)}."
    if found.known_share < FEW_LABELS:
        yield (
            f"Outcomes come late: by {options.known}, as few as {found.known_share:.0%} of a period of "
            f"{plural(windows.period_days, 'day')} are known at its end, and it is judged by these alone. "
            "A longer monitoring.period_days in problem.yaml has more of them."
        )


def _of_column(column: ColumnProfile) -> Iterator[str]:
    if column.unreadable:
        yield f"{column.header}: {plural(column.unreadable, 'unreadable value')} taken as missing."
    if column.kind == "text":
        yield f"{column.header} is free text: its length is learnt; problem/features.py can make more of it."
    if column.kind == "category" and column.folded:
        yield (
            f"{column.header}: {column.folded:,} values if upper and lower case were the same; as they are "
            "written, they are learnt as more. docs/how-to/your-own-table.md: Upper and lower case."
        )
    if column.kind == "timestamp":
        yield f"{column.header}: of these times, the days since then are learnt."
    if column.sentinel is not None:
        yield (
            f"{column.header}: {column.sentinel:g} stands far from all other values and is read as missing. "
            "If it is a value, take `.replace` out of problem/dataset.py, and widen its limits."
        )
    if column.measured:
        yield (
            f"{column.header}: texts such as {column.example!r} are learnt as {column.distinct:,} levels: "
            "numbers with nothing around them would tell more. "
            "docs/how-to/your-own-table.md: Numbers with a unit."
        )
    if column.words:
        yield (
            f"{column.header}: numbers, but for {', '.join(map(repr, column.words))}, with which they are "
            f"learnt as {column.distinct:,} levels. If these say that there is none, leave the fields empty."
        )
    if column.signs:
        yield f"{column.header}: numbers are read without their {', '.join(map(repr, column.signs))}."


def _of_target(found: Draft) -> Iterator[str]:
    target = found.target
    unknown = [one for one in target.classes if one.casefold() in UNKNOWN]
    if unknown and len(target.classes) >= FEWEST_CLASSES:
        yield (
            f"The class {unknown[0]!r} reads as if the outcome were not known. Rows in which {target.header} "
            "is empty are left out: empty these too, if that is what they are."
        )
