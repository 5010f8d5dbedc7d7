"""Run NannyML's detectors on each day and week of a table, in an environment with NannyML.

Arguments: a folder and a number N. Reads reference-N.parquet and current-N.parquet; writes alerts-N.json: by
period and column whether the default settings alert on each chunk, and for the estimated performance (CBPE).
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

PERIODS = {"day": "D", "week": "W"}
WHEN, CHANCE, LABEL, SAID = "_when", "_chance", "_label", "_said"


def alerts(found: Any, names: list[str]) -> dict[str, list[bool]]:
    """Return the alerts of whole chunks in the analysis period, by column or metric."""
    table = found.filter(period="analysis").to_df()
    columns = {
        name: [one for one in table.columns if one[0] == name and one[-1] == "alert"] for name in names
    }
    return {name: table[some].any(axis=1).astype(bool).tolist() for name, some in columns.items() if some}


def main() -> None:
    """Compute and write the alerts."""
    folder, number = Path(sys.argv[1]), sys.argv[2]
    nannyml, pandas = import_module("nannyml"), import_module("pandas")
    reference, current = (
        pandas.read_parquet(folder / f"{name}-{number}.parquet") for name in ("reference", "current")
    )
    names = [name for name in reference if not name.startswith("_")]
    written: dict[str, Any] = {}
    for period, chunk in PERIODS.items():
        drift = nannyml.UnivariateDriftCalculator(
            column_names=names, timestamp_column_name=WHEN, chunk_period=chunk
        ).fit(reference)
        written[period] = alerts(drift.calculate(current), names)
        if CHANCE in reference:
            estimate = nannyml.CBPE(
                metrics=["roc_auc"],
                y_pred_proba=CHANCE,
                y_pred=SAID,
                y_true=LABEL,
                timestamp_column_name=WHEN,
                chunk_period=chunk,
                problem_type="classification_binary",
            ).fit(reference)
            written[period]["CBPE"] = alerts(estimate.estimate(current), ["roc_auc"])["roc_auc"]
    (folder / f"alerts-{number}.json").write_text(json.dumps(written), encoding="utf-8")


if __name__ == "__main__":
    main()
