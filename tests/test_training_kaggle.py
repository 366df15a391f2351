"""The notebook for Kaggle, executed in Jupyter: the drawn world stands for COCO, the miniature for Florence-2-base."""

import ast
import json
from pathlib import Path

import nbformat
import pytest
import training_runs
from conftest import ROOT
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOK = ROOT / "training" / "kaggle.ipynb"


def notebook(parameters: dict[str, object]) -> nbformat.NotebookNode:
    """The notebook with every one of its parameters replaced."""
    read = nbformat.read(NOTEBOOK, as_version=4)
    [cell] = [cell for cell in read.cells if "parameters" in cell.metadata.get("tags", [])]
    named = [target.id for line in ast.parse(cell.source).body for target in line.targets]
    assert sorted(named) == sorted(parameters)
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    return read


def execute(read: nbformat.NotebookNode, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs all cells; what they print."""
    for name in ("RUNTIME", "DATA", "CONFIG"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(folder / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torch's threads wait for each other in vain where others work, too
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # the pinned packages are here: pip has nothing to fetch
    NotebookClient(read, timeout=400, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in read.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook_goes_from_data_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = training_runs.write_world(tmp_path / "world"), tmp_path / "run"
    parameters = {
        "REPOSITORY": str(ROOT),
        "DATA": str(data),
        "BASE": str(training_runs.MINIATURE),
        "REVISION": None,
        "SIZE": 128,
        "OPTIONS": "--preset text --epochs 2 --batch 4 --workers 0",
        "PICTURES": 4,
        "OUT": str(out),
    }
    read = notebook(parameters)
    printed = execute(read, tmp_path, monkeypatch)
    assert "train: 16 pictures, 6 categories" in printed
    assert "trainable: " in printed
    assert (out / "adapter" / "adapter_model.safetensors").exists()
    figures = [json.loads((out / name / "figures.json").read_text()) for name in ("base", "adapted", "int8")]
    assert [(one["precision"], one["pictures"]) for one in figures] == [("fp32", 4), ("fp32", 4), ("int8", 4)]
    assert (out / "report" / "report.html").stat().st_size > 10_000
    shown = [output for cell in read.cells for output in cell.get("outputs", ()) if output.output_type != "stream"]
    assert ["image/png" in output.data for output in shown] == [True]


def test_a_command_that_fails_stops_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = nbformat.read(NOTEBOOK, as_version=4)
    [defining] = [cell for cell in read.cells if "def run(" in cell.source]
    defining.source = defining.source.split("\nif not")[0] + "\nrun('ls nowhere')"
    read.cells = [defining]
    with pytest.raises(CellExecutionError, match="ls nowhere ended with exit code 2"):
        execute(read, tmp_path, monkeypatch)


def test_it_is_a_notebook_without_outputs() -> None:
    read = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(read)
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []
