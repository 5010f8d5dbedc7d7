"""JSON decoders compiled from the contract's columns; a refusal names the row and the field."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta, Struct

from fivestage.contract.contract import (
    CategoryColumn,
    Column,
    ColumnRule,
    Contract,
    NumberColumn,
    TimestampColumn,
    epoch,
    iso,
)
from fivestage.features.stores import MISSING
from fivestage.serving.problems import MAX_FAULTS, Fault, ProblemError

_FIELD = re.compile(r"(?:\.(\w+)`|field `(\w+)`)$")
_TIME = "a time such as 2025-01-31T14:15:00Z"
_JSON_TYPES = {"float": "a number", "int": "a whole number", "str": "text", "datetime": _TIME}
MAX_LISTED_VALUES = 20  # refusals list the allowed values of a category up to this number
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
Plain = dict[str, Any]


class Receipt(Struct, frozen=True):
    """The response to events: how many were new, and how many had the identity of an earlier event."""

    accepted: int
    repeated: int


class FieldError(ValueError):
    """A value of the right type that the contract does not allow."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


class Record:
    """A group of columns as a message type, with the conversion of a message to plain values."""

    def __init__(
        self,
        name: str,
        columns: Mapping[str, Column],
        kind: str | None = None,
        about: str = "",
        rules: Sequence[ColumnRule] = (),
    ) -> None:
        self.kind, self._rules = kind, rules
        self._types = {field: _type(column) for field, column in columns.items()}
        self._listed_values = {
            field: column.values
            for field, column in columns.items()
            if isinstance(column, CategoryColumn) and 0 < len(column.values) <= MAX_LISTED_VALUES
        }
        self._required = {field for field, column in columns.items() if not column.nullable}
        fields = [
            (field, kind_of) if field in self._required else (field, kind_of, None)
            for field, kind_of in self._types.items()
        ]
        self.type: type[Struct] = msgspec.defstruct(
            name,
            fields,
            namespace={"__doc__": about},
            tag_field="kind" if kind else None,
            tag=kind,
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        self.example: Plain = {"kind": kind} if kind else {}
        self.example |= {field: _example(column) for field, column in columns.items()}
        self._converters = [
            (field, converter(column), "" if isinstance(column, CategoryColumn) else MISSING)
            for field, column in columns.items()
            if column.nullable or converter(column) is not _unchanged
        ]

    def plain(self, message: Struct) -> Plain:
        """Convert a message: timestamps to epoch seconds, keys to canonical form, missing numbers to NaN."""
        values = msgspec.structs.asdict(message)
        for field, convert, missing in self._converters:
            value = values[field]
            try:
                values[field] = missing if value is None else convert(value)
            except ValueError as error:
                raise FieldError(field, str(error)) from error
        for rule in self._rules:
            if not rule.holds(values):
                raise FieldError(rule.left, f"Expected {rule}")
        return values

    def faults(self, fields: Mapping[str, msgspec.Raw], row: int) -> list[Fault]:
        """List the faults of one message's fields, up to a limit."""
        missing = [field for field in self._types if field in self._required and field not in fields]
        faults = [Fault("This field is missing", row, field) for field in missing]
        for field, raw in fields.items():
            if len(faults) >= MAX_FAULTS:
                break
            if field in self._types:
                try:
                    msgspec.json.decode(raw, type=self._types[field])
                except msgspec.ValidationError as error:
                    faults.append(Fault(_message(error, self._listed_values.get(field, ())), row, field))
            elif not (self.kind and field == "kind"):
                faults.append(Fault("The contract has no such field", row, field))
        return faults


class Intake:
    """Decodes request bodies that hold one item, or a list of items under one name such as `rows`."""

    def __init__(self, plural: str, records: Sequence[Record], limit: int) -> None:
        item: Any = Union[tuple(record.type for record in records)]  # noqa: UP007 (built at run time)
        self.plural, self.limit = plural, limit
        self.many: type[Struct] = msgspec.defstruct(
            plural.capitalize(),
            [(plural, Annotated[list[item], Meta(min_length=1, max_length=limit)])],
            forbid_unknown_fields=True,
        )
        self.examples = [record.example for record in records]
        self.named_examples = {"many": {"value": {plural: self.examples}}, "one": {"value": self.examples[0]}}
        self._records = {record.type: record for record in records}
        self._is_many = re.compile(rb'\s*\{\s*"' + plural.encode() + rb'"\s*:').match
        self._decode_many: Any = msgspec.json.Decoder(self.many).decode
        self._decode_one: Any = msgspec.json.Decoder(item).decode
        undecoded = msgspec.defstruct("Undecoded", [(plural, list[msgspec.Raw])])
        self._split: Any = msgspec.json.Decoder(undecoded).decode

    def parse(self, body: bytes) -> tuple[list[Struct], list[Plain]]:
        """Decode the items of a request body to messages and plain values, or refuse with 400 or 422."""
        try:
            if self._is_many(body):
                items: list[Struct] = getattr(self._decode_many(body), self.plural)
            else:
                items = [self._decode_one(body)]
            return items, [self._records[type(item)].plain(item) for item in items]
        except (msgspec.ValidationError, FieldError) as error:
            raise self._problem(body, error) from None
        except _UNREADABLE as error:
            raise ProblemError(400, f"The body is not JSON: {error}.{_hint(body)}") from None

    def read(self, body: bytes) -> list[Plain]:
        """Decode the items of a request body to plain values; see `parse`."""
        return self.parse(body)[1]

    def schema(self) -> Plain:
        """Return the JSON schema of a request body; it refers to `components`."""
        return {"anyOf": [reference(one) for one in (self.many, *self._records)]}

    def components(self) -> dict[str, Plain]:
        """Return the JSON schemas of the messages, by name."""
        schemas = msgspec.json.schema_components((self.many, *self._records), ref_template=REFERENCE)[1]
        for component in schemas.values():
            for field in component.get("properties", {}).values():
                for kind in field.get("anyOf", [field]):
                    if kind.get("multipleOf") == 1:  # "integer" in JSON Schema includes 331.0
                        del kind["multipleOf"]
                        kind["type"] = "integer"
        return schemas

    def _problem(self, body: bytes, error: Exception) -> ProblemError:
        """Build the 422 response, with the faults of all items up to a limit."""
        items: list[Any] = [body]
        if body.lstrip()[:1] == b"[":
            return ProblemError(422, f'The body is an array: send it as {{"{self.plural}": [...]}}.')
        if self._is_many(body):
            try:
                items = getattr(self._split(body), self.plural)
            except _UNREADABLE:
                items = []
        if len(items) > self.limit:
            return ProblemError(
                422, f"{len(items)} {self.plural} are too many: send at most {self.limit} at once."
            )
        faults: list[Fault] = []
        for row, raw in enumerate(items):
            faults += self._faults(raw, row)
            if len(faults) >= MAX_FAULTS:
                break
        first, *more = faults[:MAX_FAULTS] or [_fault(error, None)]
        location = (("row", first.row), ("field", first.field))
        place = ", ".join(f"{name} {value}" for name, value in location if value is not None)
        detail = f"{place}: {first.detail}" if place else first.detail
        if more:
            detail = f"{detail} ({len(more)} more in `errors`)"
        return ProblemError(422, detail, [first, *more])

    def _faults(self, raw: Any, row: int) -> list[Fault]:
        """List the faults of an item, field by field where it can be split into fields."""
        try:
            message = self._decode_one(raw)
            self._records[type(message)].plain(message)
        except FieldError as error:
            return [Fault(error.reason, row, error.field)]
        except _UNREADABLE as error:
            try:
                fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
                kind = msgspec.json.decode(fields["kind"]) if len(self._records) > 1 else None
                (record,) = [one for one in self._records.values() if kind in (None, one.kind)]
                return record.faults(fields, row) or [_fault(error, row)]
            except (*_UNREADABLE, LookupError, ValueError):
                return [_fault(error, row)]
        return []


_HINTS = (  # for what other encoders send
    (
        re.compile(rb"\xef\xbb\xbf|\xff\xfe|\xfe\xff|.?\0", re.DOTALL).match,
        "Send UTF-8 without a byte order mark.",
    ),
    (re.compile(rb"[:,\[]\s*-?(?:NaN|Infinity)\b").search, "Send null in place of NaN and Infinity."),
)


def _hint(body: bytes) -> str:
    """Say what a body should be that is encoded differently, or that has numbers JSON does not know."""
    return next((f" {hint}" for found, hint in _HINTS if found(body)), "")


REFERENCE = "#/components/schemas/{name}"


def reference(message: type) -> Plain:
    """Return a JSON schema reference to a message among the components."""
    return {"$ref": REFERENCE.format(name=message.__name__)}


def rows_intake(contract: Contract) -> Intake:
    """Return the decoder of prediction requests."""
    about = f"One decision: {contract.decision.what}."
    if contract.rules:
        about = f"{about} Rules: {', '.join(map(str, contract.rules))}."
    row = Record("Row", contract.columns, about=about, rules=contract.rules)
    return Intake("rows", [row], contract.service.max_batch)


def events_intake(contract: Contract) -> Intake:
    """Return the decoder of events."""
    records = [
        Record(f"{kind.title().replace('_', '')}Event", event.columns, kind, event.about)
        for kind, event in contract.events.items()
    ]
    return Intake("events", records, contract.service.max_batch)


def _fault(error: Exception, row: int | None) -> Fault:
    text = _message(error)
    field = _FIELD.search(text) or _FIELD.search(str(error))
    return Fault(text, row, field[1] or field[2] if field else None)


def _message(error: Exception, allowed: Sequence[str] = ()) -> str:
    """Return msgspec's message in JSON's terms, with the allowed values of a category."""
    text = str(error).partition(" - at `$")[0].replace("`float` that's a multiple of 1.0", "a whole number")
    for name, json_type in _JSON_TYPES.items():
        text = text.replace(f"`{name}`", json_type).replace(f"`{name} | null`", f"{json_type} or null")
    text = text.replace("Invalid RFC3339 encoded datetime", f"Expected {_TIME}")
    if allowed:
        names = ", ".join(map(repr, allowed))
        text = text.replace("Invalid enum value", f"Expected one of {names}, got", 1)
    return text


def converter(column: Column) -> Callable[[Any], Any]:
    """Return the conversion of a column: integers (JavaScript may write 331.0), keys, timestamps."""
    match column:
        case NumberColumn(type="integer"):
            return int
        case CategoryColumn(form="integer"):
            return column.canonical
        case TimestampColumn():
            low, high = epoch(column.min), epoch(column.max)
            return lambda timestamp: _within(math.floor(timestamp.timestamp()), low, high)
    return _unchanged


def _unchanged(value: Any) -> Any:
    return value


def _within(seconds: int, low: int, high: int) -> int:
    if low <= seconds <= high:
        return seconds
    raise ValueError(f"Expected a time from {iso(low)} to {iso(high)}, as the contract allows")


def _type(column: Column) -> Any:
    about: Plain = {"description": column.about, "examples": [_example(column)]}
    kind: Any = datetime
    if isinstance(column, CategoryColumn):
        kind = Literal[column.values] if column.values else str
        about |= {} if column.values else {"min_length": 1, "max_length": column.max_length}
    elif isinstance(column, NumberColumn):
        kind = float
        about |= {"ge": column.min, "le": column.max}
        about |= {"multiple_of": 1} if column.type == "integer" else {}
        about |= {"extra_json_schema": {"x-unit": column.unit}} if column.unit else {}
    else:
        limits = {"x-minimum": column.min.isoformat(), "x-maximum": column.max.isoformat()}
        about |= {"tz": True, "extra_json_schema": limits}
    annotated = Annotated[kind, Meta(**about)]
    return annotated | None if column.nullable else annotated


def _example(column: Column) -> Any:
    if isinstance(column, TimestampColumn):
        return column.example.isoformat().replace("+00:00", "Z")
    if isinstance(column, NumberColumn) and column.type == "integer":
        return int(column.example)
    return column.example
