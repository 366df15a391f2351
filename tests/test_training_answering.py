"""Answers by several processes: the same as by one, in the same order, and none of them outlives the first."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT

from handler.florence.predictor import Predictor
from training import answering, coco, evaluate, shapes

MINI = ROOT / "models" / "mini"
COUNT = 8


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[coco.Record, ...]:
    """Eight pictures, the third of which is damaged."""
    folder = tmp_path_factory.mktemp("world")
    shapes.write_coco(folder, COUNT, 9)
    (folder / "images" / "000002.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    return tuple(coco.read(folder, "all").records)


def in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "WORTHWHILE", 2)


def test_two_processes_answer_as_one_does(records: tuple[coco.Record, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def timeless(answers: list[answering.Answer | str]) -> list[answering.Answer | str]:
        return [one if isinstance(one, str) else {**one, "milliseconds": 0} for one in answers]

    load = partial(Predictor, MINI)
    with monkeypatch.context() as patched:
        patched.delattr(answering, "ProcessPoolExecutor")  # so few pictures are not worth a process
        alone = list(answering.answers(load(), records, load, processes=2))
    assert alone[2] == "The PNG image is damaged or cut off, and cannot be read."
    in_two(monkeypatch)
    unasked: Predictor = None  # type: ignore[assignment]
    assert timeless(list(answering.answers(unasked, records, load, processes=2))) == timeless(alone)


def killed() -> Predictor:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_process_that_is_killed_is_told_of(
    records: tuple[coco.Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_two(monkeypatch)
    data = coco.read(records[0].path.parent.parent, "all")
    with pytest.raises(evaluate.EvaluationError, match=r"for want of memory: .* --processes 1 goes on"):
        evaluate.evaluate(Predictor(MINI), "sha", data, "all", None, tmp_path, killed, 2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_evaluation_that_is_killed_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    shapes.write_coco(tmp_path / "world", 2 * answering.WORTHWHILE, 9)
    command = [sys.executable, "-m", "training.evaluate", "--checkpoint", "models/mini-checkpoint"]
    command += ["--image-size", "128", "--processes", "2", "--data", str(tmp_path / "world")]

    def run(name: str, ends: Callable[[subprocess.Popen[bytes]], None]) -> Path:
        with (tmp_path / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([*command, "--out", str(tmp_path / name)], cwd=ROOT, stdout=log, stderr=log)
            ends(process)
        return tmp_path / name / "predictions.jsonl"

    def whole(process: subprocess.Popen[bytes]) -> None:
        assert process.wait(240) == 0

    def killed_midway(process: subprocess.Popen[bytes]) -> None:
        written, deadline = tmp_path / "cut" / "predictions.jsonl", time.monotonic() + 240
        while not (written.exists() and written.read_bytes().count(b"\n") >= 5):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        others = children(process.pid)
        assert len(others) >= 2
        process.kill()
        process.wait()
        while any(map(runs, others)):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def runs(process: int) -> bool:
        status = Path(f"/proc/{process}/status")
        return status.exists() and "State:\tZ" not in status.read_text()

    def children(parent: int) -> list[int]:
        tasks = Path(f"/proc/{parent}/task").iterdir()
        return [int(one) for task in tasks for one in (task / "children").read_text().split()]

    run("cut", killed_midway)
    said = [[json.loads(line) for line in run(name, whole).read_text().splitlines()] for name in ("cut", "once")]
    assert [one["image_id"] for one in said[0]] == list(range(2 * answering.WORTHWHILE))
    assert [one["caption"]["text"] for one in said[0]] == [one["caption"]["text"] for one in said[1]]
