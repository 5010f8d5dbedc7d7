"""Tables with the oddities of real data; each function writes one and returns the options for `make init`."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

DAY = 86_400
Words = dict[str, str]  # options of make init, at least DATA and TARGET
Writer = Callable[[Path], Words]


def people(rows: int = 1_500, seed: int = 0, rate: float = 0.3, days: int = 300) -> pd.DataFrame:
    """Draw a table with signal: ordered timestamps, numbers, two categories, and whether a person left."""
    random = np.random.default_rng(seed)
    age, income = random.normal(45, 12, rows).round(1), random.gamma(3, 900, rows).round(2)
    plan = random.choice(["basic", "plus", "gold"], rows, p=[0.5, 0.3, 0.2])
    signal = (age - 45) / 8 + (income - 2_700) / 1_500 + (plan == "basic") * 1.2
    noise = random.logistic(0, 1, rows)
    left = signal + noise > np.quantile(signal + noise, 1 - rate)
    at = pd.Timestamp("2023-02-01") + pd.to_timedelta(np.sort(random.integers(0, days * DAY, rows)), unit="s")
    return pd.DataFrame(
        {
            "at": at,
            "age": age,
            "income": income,
            "plan": plan,
            "town": random.choice(["Ulm", "Aix", "Bern", "Graz"], rows),
            "left": np.where(left, "yes", "no"),
        }
    )


def csv(folder: Path, frame: pd.DataFrame, **options: Any) -> Words:
    """Write the table as a CSV file, with options of pandas."""
    frame.to_csv(folder / "table.csv", index=False, **options)
    return {"DATA": str(folder / "table.csv"), "TARGET": "left"}


def _timed(folder: Path, written: Callable[[pd.Series], Any], **options: Any) -> Words:
    frame = people()
    frame["at"] = written(frame["at"])
    return csv(folder, frame, **options) | {"TIME": "at"}


def free_text(folder: Path) -> Words:
    """Prose with line breaks, quotes and emoji, and a category of a thousand levels."""
    frame, random = people(), np.random.default_rng(1)
    words = ["slow", "great", "never, ever", 'the "best"', "überteuert", "🙂", "one\ntwo", "it's"]
    frame["note"] = [" ".join(random.choice(words, 12)) for _ in range(len(frame))]
    frame["street"] = [f"Street {one}" for one in random.integers(0, 1_000, len(frame))]
    frame.loc[::7, "note"] = None
    return csv(folder, frame)


def mixed_dates(folder: Path) -> Words:
    """ISO dates in one column, with and without time of day and time zone."""
    forms = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+02:00")
    return _timed(folder, lambda at: [one.strftime(forms[n % 4]) for n, one in enumerate(at)])


def two_conventions(folder: Path) -> Words:
    """Dates half in ISO, half with the day first, as written by two systems."""
    return _timed(
        folder, lambda at: [one.strftime(("%Y-%m-%d", "%d.%m.%Y")[n % 2]) for n, one in enumerate(at)]
    )


def unpadded(folder: Path) -> Words:
    """Dates without leading zeros."""
    return _timed(
        folder, lambda at: [f"{one.day}.{one.month}.{one.year} {one.hour}:{one.minute:02}" for one in at]
    )


def wide(folder: Path) -> Words:
    """200 columns: numbers, whole numbers, categories, some nearly empty."""
    frame, random = people(), np.random.default_rng(1)
    rows = len(frame)
    more: dict[str, Any] = {f"n{one}": random.normal(0, 10.0 ** (one % 9 - 4), rows) for one in range(90)}
    more |= {f"i{one}": random.integers(0, 2 + one, rows) for one in range(60)}
    more |= {f"c{one}": random.choice(list("abcdefgh")[: 2 + one % 7], rows) for one in range(40)}
    more |= {
        f"e{one}": np.where(random.random(rows) < 0.95, np.nan, 1.5 * one + random.random(rows))
        for one in range(5)
    }
    return csv(folder, pd.concat([frame.drop(columns="at"), pd.DataFrame(more)], axis=1))


def rare(folder: Path) -> Words:
    """One row in 200 is positive."""
    return csv(folder, people(20_000, rate=0.005)) | {"TIME": "at"}


def headers(folder: Path) -> Words:
    """Headers as spreadsheets have them: twice, empty, in quotes, with braces, in other scripts, reserved."""
    frame, random = people(), np.random.default_rng(1)
    names = [
        "Größe (cm)", "年齢", "доход", 'the "best"', "it's", "a\nb", "a\\b", "# no", "{{ x }}", "🙂",
        "class", "None", "yes", "null", "2019", "2020", "%", "&amp;", "<b>", "x: y", "- z", "[w]", "$cost",
        "row_number", "known_at", "decision_at", "happened_at", "outcome", "probability", "reason", "weekday",
        "index", "self", "kind", "{% if %}", "name", "version", "a" * 120, "a" * 121, "dup",
        "dup", "DUP", " padded ", "", "a,b",
    ]  # fmt: skip
    made = pd.DataFrame({place: random.normal(size=len(frame)).round(4) for place in range(len(names))})
    made.columns = pd.Index(names)
    frame = frame.rename(columns={"left": "ist weg? (ja/nein)"})
    return csv(folder, pd.concat([frame, made], axis=1)) | {"TARGET": "ist weg? (ja/nein)", "TIME": "at"}


def empty_columns(folder: Path) -> Words:
    """Constant, all-missing, nearly constant, boolean, mixed; rows twice."""
    frame, random = people(), np.random.default_rng(1)
    rows = len(frame)
    frame["constant"], frame["nothing"], frame["blank"] = 7, np.nan, " "
    frame["nearly"] = np.where(np.arange(rows) == 5, 1, 0)
    frame["flag"] = frame["age"] > 50
    frame["flag_with_gaps"] = pd.Series(random.choice(["True", "False", ""], rows))
    frame["mixed"] = np.where(
        random.random(rows) < 0.5, "12", np.where(random.random(rows) < 0.5, "n/a", "old")
    )
    frame["huge"] = random.normal(0, 1e300, rows)
    frame["tiny"] = random.normal(0, 1e-300, rows)
    frame["infinite"] = np.where(random.random(rows) < 0.1, np.inf, random.normal(size=rows))
    return csv(folder, pd.concat([frame, frame.head(500)]).sample(frac=1, random_state=0))


def german(folder: Path) -> Words:
    """Semicolons, decimal commas, thousands with points, Latin-1, day first."""
    frame = people()
    swap = str.maketrans(",.", ".,")
    frame["income"] = [f"{one:,.2f} €".translate(swap) for one in frame["income"]]
    frame["age"] = [f"{one}".translate(swap) for one in frame["age"]]
    frame["at"] = frame["at"].dt.strftime("%d.%m.%Y")
    frame["town"] = frame["town"].replace({"Ulm": "Köln", "Aix": "Fürth"})
    return csv(folder, frame, sep=";", encoding="cp1252") | {"TIME": "at"}


def numbers_as_text(folder: Path) -> Words:
    """Minus as U+2212, trailing or in brackets; currency before and after; thousands with spaces; percent."""
    frame, random = people(), np.random.default_rng(1)
    amounts = random.normal(0, 3_000, len(frame)).round(2)
    frame["minus"] = [f"{one:,.2f}".replace("-", "\u2212") for one in amounts]
    frame["brackets"] = [f"({-one:,.2f})" if one < 0 else f"{one:,.2f}" for one in amounts]
    frame["behind"] = [f"{abs(one):.2f}{'-' if one < 0 else ''}" for one in amounts]
    frame["spaces"] = [f"{one:,.2f}".replace(",", "\u202f").replace(".", ",") for one in amounts]
    frame["swiss"] = [f"CHF {one:,.2f}".replace(",", "\u2019") for one in amounts]
    frame["dollars"] = [f"-${-one:,.2f}" if one < 0 else f"${one:,.2f}" for one in amounts]
    frame["code"] = [f"USD {one:,.2f}" for one in amounts]
    frame["percent"] = [f"{one / 100:.1f} %" for one in amounts]
    frame["exponent"] = [f"{one:.3e}" for one in amounts]
    frame["gaps"] = [
        ("" if n % 5 else "n.a.") if n % 3 == 0 else f"{one:.0f}" for n, one in enumerate(amounts)
    ]
    return csv(folder, frame, sep="\t") | {"TIME": "at"}


def parquet_folder(folder: Path) -> Words:
    """A folder of Parquet files with types that CSV does not have."""
    from decimal import Decimal

    frame, random = people(), np.random.default_rng(1)
    rows = len(frame)
    frame["left"] = frame["left"] == "yes"
    frame["plan"] = frame["plan"].astype("category")
    frame["price"] = pd.Series([Decimal(str(one)) for one in random.normal(10, 3, rows).round(2)])
    frame["born"] = pd.Series(pd.date_range("1950-01-01", periods=rows, freq="D")).dt.date
    frame["stay"] = pd.to_timedelta(random.integers(1, 1_000_000, rows), unit="s")
    frame["tags"] = pd.Series([list(random.choice(["a", "b"], 2)) for _ in range(rows)])
    frame["where"] = pd.Series([{"x": float(one), "y": 1} for one in random.normal(size=rows)])
    frame["raw"] = [b"\x00\xff"] * rows
    frame["visits"] = pd.array(random.integers(0, 9, rows), dtype="Int64")
    frame["at"] = frame["at"].dt.tz_localize("Europe/Berlin", ambiguous="NaT", nonexistent="NaT")
    frame = frame[frame["at"].notna()]
    (folder / "parts" / "year=2023").mkdir(parents=True)
    frame.head(700).to_parquet(folder / "parts" / "year=2023" / "one.parquet")
    frame.tail(-700).to_parquet(folder / "parts" / "year=2023" / "two.parquet")
    return {"DATA": str(folder / "parts"), "TARGET": "left", "TIME": "at"}


def database(folder: Path) -> Words:
    """A table of SQLite."""
    with sqlite3.connect(folder / "base.db") as base:
        people().to_sql("customers", base, index=False)
    return {"DATA": f"sqlite:///{folder}/base.db#customers", "TARGET": "left", "TIME": "at"}


def compressed(folder: Path) -> Words:
    """UTF-8 with a byte-order mark, in gzip."""
    people().to_csv(folder / "table.csv.gz", index=False, encoding="utf-8-sig", sep="|")
    return {"DATA": str(folder / "table.csv.gz"), "TARGET": "left", "TIME": "at"}


def utf16(folder: Path) -> Words:
    """What spreadsheets call Unicode text."""
    people().to_csv(folder / "table.txt", index=False, encoding="utf-16", sep="\t")
    return {"DATA": str(folder / "table.txt"), "TARGET": "left"}


def keys(folder: Path) -> Words:
    """Two entities, one a whole number, one with gaps."""
    frame, random = people(), np.random.default_rng(1)
    frame["customer id"] = random.integers(10_000, 10_150, len(frame))
    frame["Händler"] = random.choice(["A & B", "Ü", "c", ""], len(frame), p=[0.5, 0.3, 0.15, 0.05])
    return csv(folder, frame) | {"TIME": "at", "KEYS": "customer id, Händler"}


def grouped(folder: Path) -> Words:
    """No time column; the rows of a household belong together."""
    frame, random = people(), np.random.default_rng(1)
    frame["household"] = random.integers(0, 900, len(frame))
    return csv(folder, frame.drop(columns="at")) | {"GROUP": "household"}


def newest_first(folder: Path) -> Words:
    """Timestamps in reverse, some missing, two years by the month."""
    frame = people(days=800)
    frame["at"] = frame["at"].dt.strftime("%Y-%m")
    frame.loc[::400, "at"] = ""
    return csv(folder, frame.iloc[::-1]) | {"TIME": "at"}


def few_days(folder: Path) -> Words:
    """Only ten days."""
    return csv(folder, people(days=10)) | {"TIME": "at"}


def untidy_target(folder: Path) -> Words:
    """A target with spaces, capitals and gaps."""
    frame = people()
    frame["left"] = [
        ("Yes ", "yes", "YES")[n % 3] if one == "yes" else ("no", " No", "NO")[n % 3]
        for n, one in enumerate(frame["left"])
    ]
    frame.loc[::50, "left"] = ""
    return csv(folder, frame) | {"TIME": "at"}


def small(folder: Path) -> Words:
    """150 rows, five columns."""
    return csv(folder, people(150))


def one_column(folder: Path) -> Words:
    """One column and the target."""
    return csv(folder, people()[["age", "left"]])


def five_classes(folder: Path) -> Words:
    """Five classes of unlike size."""
    frame = people()
    push = frame["age"] + np.random.default_rng(1).normal(0, 8, len(frame))
    frame["left"] = pd.qcut(push, [0, 0.5, 0.75, 0.9, 0.97, 1], labels=["A", "B b", "ç", "4", "none at all"])
    return csv(folder, frame) | {"TIME": "at"}


def amounts(folder: Path) -> Words:
    """A number to forecast, some of it negative, with a decimal comma; an entity."""
    frame, random = people(), np.random.default_rng(1)
    amount = frame["income"] / 10 + random.normal(0, 60, len(frame)) - 150
    frame["left"] = [f"{one:,.2f}".translate(str.maketrans(",.", ".,")) for one in amount]
    frame["shop"] = random.choice(["north", "south", "west"], len(frame))
    return csv(folder, frame, sep=";") | {"TIME": "at", "KEYS": "shop"}


def remarks(folder: Path) -> Words:
    """A line that names the separator, remarks, an empty line; separators behind the last field."""
    path = folder / "table.csv"
    headers, *rows = people().to_csv(index=False, sep=";").splitlines()
    lines = ["sep=;", "# exported by hand; twice", "", headers, *(f"{row};" for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return {"DATA": str(path), "TARGET": "left", "TIME": "at"}


def history_alone(folder: Path) -> Words:
    """Only a day, a shop and its sales, which are tiny numbers."""
    random = np.random.default_rng(1)
    days, shops = pd.date_range("2022-01-01", periods=200).repeat(8), np.tile(np.arange(8), 200)
    sold = (100 + 20 * shops + random.normal(0, 5, len(shops))) * 1e-9
    frame = pd.DataFrame({"day": days.strftime("%d%b%Y").str.upper(), "shop": shops, "left": sold})
    return csv(folder, frame) | {"TIME": "day", "KEYS": "shop"}


def aligned(folder: Path) -> Words:
    """Columns separated by spaces, in UTF-16 without a mark; days as the serial numbers of spreadsheets."""
    frame = people()
    frame["at"] = (frame["at"] - pd.Timestamp("1899-12-30")) / pd.Timedelta(days=1)
    path = folder / "table.txt"
    path.write_text(frame.to_string(index=False), encoding="utf-16-le")
    return {"DATA": str(path), "TARGET": "left", "TIME": "at"}


def sap_list(folder: Path) -> Words:
    """A list from SAP: a title, a margin, codes, a flag that is X or empty, zeros for no date, totals."""
    frame, random = people(), np.random.default_rng(1)
    german = str.maketrans(",.", ".,")
    made = pd.DataFrame({"": "", "Beleg": [f"{one:010}" for one in range(len(frame))]})
    made["Kunde"] = [f"{one:06}" for one in random.integers(1, 60, len(frame))]
    made["Nettowert"] = [
        f"{one:,.2f}{'-' if n % 30 == 0 else ''}".translate(german) for n, one in enumerate(frame["income"])
    ]
    made["Alter"] = [f"{one}".translate(german) for one in frame["age"]]
    made["Menge"] = [f"{one:,}".translate(german) for one in random.integers(1, 4_000, len(frame))]
    made["Währg"] = "EUR"
    made["Eilt"] = np.where(random.random(len(frame)) < 0.3, "X", "")
    made["Tarif"], made["Angelegt am"] = frame["plan"], frame["at"].dt.strftime("%d.%m.%Y")
    made["Storniert am"] = np.where(
        frame["left"] == "yes", (frame["at"] + pd.Timedelta(days=3)).dt.strftime("%d.%m.%Y"), "00.00.0000"
    )
    made["Storno"] = np.where(frame["left"] == "yes", "X", "")
    totals = "*\t\t\t9.999.999,99\t\t\t\t\t\t\t\t\n"
    title = "03.11.2025\t\t\tDynamische Listenausgabe\t\t1\n\nAufträge Werk 0300\n\n"
    headers, rows = made.to_csv(index=False, sep="\t").split("\n", 1)
    path = folder / "VA05.txt"
    path.write_text(f"{title}{headers}\n\n{rows}{totals}", encoding="cp1252", newline="\r\n")
    return {"DATA": str(path), "TARGET": "Storno", "TIME": "Angelegt am", "KEYS": "Kunde", "POSITIVE": "X"}


def json_lines(folder: Path) -> Words:
    """An event log of JSON objects, some nested, with lists and absent fields, one file a month."""
    frame = people()
    (folder / "events").mkdir()
    for row, one in enumerate(frame.to_dict("records")):
        event = {
            "id": f"{row:08x}",
            "ts": f"{one['at']:%Y-%m-%dT%H:%M:%S}.250Z",
            "user": {"age": one["age"], "town": one["town"]},
            "plan": {"name": one["plan"], "tags": ["a", "b"][: row % 3]},
            "left": one["left"] == "yes",
        } | ({"income": one["income"]} if row % 9 else {})
        with (folder / "events" / f"{one['at']:%Y-%m}.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(event)}\n")
    return {"DATA": str(folder / "events"), "TARGET": "left", "TIME": "ts"}


def survey(folder: Path) -> Words:
    """Answers to 40 long questions, often none, of which one in 50 matters; times with GMT+1."""
    frame, random = people(3_000, rate=0.02), np.random.default_rng(1)
    made = {"Timestamp": frame["at"].dt.strftime("%Y/%m/%d %I:%M:%S %p GMT+1").str.replace(" 0", " ")}
    for one in range(38):
        question = f"{one + 1}. In the last 12 months, have you seen any of these at your workplace? [{one}]"
        made[question] = pd.Series(random.choice(["Yes", "No", ""], len(frame), p=[0.3, 0.5, 0.2]))
    made["How old are you?"] = pd.cut(
        frame["age"], [0, 30, 45, 60, 99], labels=["<30", "30-45", "45-60", "60+"]
    )
    made["Salary (gross)"] = pd.Series(
        np.where(random.random(3_000) < 0.4, "", frame["income"].map("£{:,.0f}".format))
    )
    target = "Will you leave within three months?"
    made[target] = frame["left"].replace({"yes": "Yes", "no": "No"}).where(random.random(3_000) > 0.1, "")
    return csv(folder, pd.DataFrame(made)) | {"TARGET": target, "TIME": "Timestamp"}


WORKING: Mapping[str, Writer] = {
    one.__name__: one
    for one in (
        free_text, mixed_dates, two_conventions, unpadded, wide, rare, headers, empty_columns, german,
        numbers_as_text, parquet_folder, database, compressed, utf16, keys, grouped, newest_first, few_days,
        untidy_target, small, one_column, five_classes, amounts, remarks, history_alone, aligned,
        sap_list, json_lines, survey,
    )
} | {
    "day_first": lambda folder: _timed(folder, lambda at: at.dt.strftime("%d/%m/%Y %H:%M")),
    "epoch_ms": lambda folder: _timed(folder, lambda at: at.dt.as_unit("ms").astype("int64")),
    "zoned": lambda folder: _timed(folder, lambda at: at.dt.strftime("%Y-%m-%d %H:%M:%S-0500")),
    "named_zone": lambda folder: _timed(folder, lambda at: at.dt.strftime("%Y-%m-%d %H:%M:%S UTC")),
    "log": lambda folder: _timed(folder, lambda at: at.dt.strftime("%d/%b/%Y:%H:%M:%S +0000")),
    "day_numbers": lambda folder: _timed(folder, lambda at: at.dt.strftime("%Y%m%d").astype(int)),
    "rfc": lambda folder: _timed(folder, lambda at: at.dt.strftime("%a, %d %b %Y %H:%M:%S +0000")),
}  # fmt: skip
