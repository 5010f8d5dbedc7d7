"""An empty FastAPI service with the same schema: the cost of the framework alone."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from fivestage.contract.contract import CategoryColumn, Column, NumberColumn
from problem import PROBLEM


def _field(column: Column) -> Any:
    kind: Any = AwareDatetime
    if isinstance(column, CategoryColumn):
        kind = (
            Literal[column.values] if column.values else Annotated[str, Field(max_length=column.max_length)]
        )
    elif isinstance(column, NumberColumn):
        number: type = int if column.type == "integer" else float
        kind = Annotated[number, Field(ge=column.min, le=column.max)]
    return (kind | None, None) if column.nullable else (kind, ...)


CONTRACT = PROBLEM.contract
Row: Any = create_model(
    "Row",
    __config__=ConfigDict(extra="forbid"),
    **{name: _field(column) for name, column in CONTRACT.columns.items()},
)


class Rows(BaseModel):
    """A request."""

    rows: Annotated[list[Row], Field(min_length=1, max_length=CONTRACT.service.max_batch)]


class Prediction(BaseModel):
    """The prediction for one row."""

    probability: float
    decision: str
    unknown: list[str] = []


class Answer(BaseModel):
    """The response to a request."""

    request_id: str
    model_version: str
    threshold: float
    predictions: list[Prediction]


app = FastAPI()


@app.post("/predict")
async def predict(request: Rows) -> Answer:
    """Return a constant response."""
    same = Prediction(probability=0.25, decision=CONTRACT.decision.wait)
    name = datetime.now().astimezone().isoformat()
    return Answer(request_id=name, model_version="0", threshold=0.5, predictions=[same] * len(request.rows))
