"""What a person should know of a table beside what is written of it."""

from collections.abc import Iterator

from fivestage.scaffold.column_profiles import ColumnProfile
from fivestage.scaffold.draft import Draft
from fivestage.scaffold.leaks import LEAK

UNKNOWN = ("unknown", "n/a", "na", "missing", "not known", "unclear", "undefined", "unbekannt", "k.a.")
FEWEST_CLASSES = 3  # where one can stand for an outcome that is not known


def notes_of(found: Draft) -> Iterator[str]:
    """Sentences, each about one thing that was seen."""
    wishes = found.wishes
    if found.identifier:
        yield f"{found.identifier.header} tells the rows apart, and is not learnt from."
    if found.repeated:
        fate = "are left out" if found.drop_repeated else "stay, for so few columns repeat by chance"
        yield f"{found.repeated:,} rows repeat another one whole and {fate}."
    if wishes.group and wishes.time:
        yield f"GROUP={wishes.group} is for tables without TIME: here, windows go by {wishes.time}."
    for column in found.features:
        yield from _of_column(column)
    yield from _of_target(found)


def _of_column(column: ColumnProfile) -> Iterator[str]:
    if column.unreadable:
        yield f"{column.header}: {column.unreadable:,} values cannot be read and count as missing."
    if column.mark is not None:
        yield (
            f"{column.header}: {column.mark:g} stands far from all other values. If it means that there is "
            "none, leave those fields empty in the table."
        )
    if column.measured:
        yield (
            f"{column.header}: texts such as {column.example!r} are learnt as {column.distinct:,} levels: "
            "numbers with nothing around them would tell more."
        )


def _of_target(found: Draft) -> Iterator[str]:
    target = found.target
    unknown = [one for one in target.classes if one.casefold() in UNKNOWN]
    if unknown and len(target.classes) >= FEWEST_CLASSES:
        yield (
            f"The class {unknown[0]!r} reads as if the outcome were not known. Rows in which {target.header} "
            "is empty are left out: empty these too, if that is what they are."
        )
    if found.reached >= LEAK:
        measure = "ROC-AUC" if target.classes else "R2"
        yield (
            f"Too good to be true? A quick model of all columns has {measure} {found.reached:.3f}: several "
            "may have been written with the outcome or after it. LEAVE_OUT names columns not known before it."
        )
