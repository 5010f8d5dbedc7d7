import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fivestage.common.errors import UserError
from fivestage.evaluation.metrics import Estimate
from fivestage.reporting.results import ModelSection, Results, RunSection, Section, load, save


def _sections(results: Results) -> list[Section]:
    return [getattr(results, field.name) for field in dataclasses.fields(results)]


def test_what_is_saved_is_loaded(results: Results, tmp_path: Path) -> None:
    for section in _sections(results):
        save(section, tmp_path)
    assert load(tmp_path) == results


def test_one_file_a_stage_and_nothing_else(results: Results, tmp_path: Path) -> None:
    for section in _sections(results):
        save(section, tmp_path / "results")
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {f"{field.name}.json" for field in dataclasses.fields(results)}


def test_a_stage_not_run_is_none(tmp_path: Path) -> None:
    save(RunSection({"data": 1.0}), tmp_path)
    assert load(tmp_path) == Results(run=RunSection({"data": 1.0}))


def test_numbers_of_numpy_and_nan_survive(results: Results, tmp_path: Path) -> None:
    assert results.model is not None
    test = {"roc_auc": Estimate(np.float64(0.75)), "rows": Estimate(np.float64(3))}
    save(dataclasses.replace(results.model, test=test), tmp_path)
    model = load(tmp_path).model
    assert isinstance(model, ModelSection)
    assert model.test["roc_auc"].value == 0.75
    assert np.isnan(model.test["rows"].high)


@pytest.mark.parametrize(
    "content", ["", "{", '{"seconds": {"data": "long"}}', '{"seconds": {}, "unheard_of": 1}', "[]"]
)
def test_a_file_of_something_else_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json does not contain valid results"):
        load(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"results/run\.json cannot be written"):
        save(RunSection({}), tmp_path / "results")


def test_a_failed_write_leaves_the_file_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(RunSection({"data": 1.0}), tmp_path)

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as scratch:
            scratch.write(content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        save(RunSection({"data": 2.0}), tmp_path)
    assert load(tmp_path).run == RunSection({"data": 1.0})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
