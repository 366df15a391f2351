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
def data(tmp_path_factory: pytest.TempPathFactory) -> coco.Coco:
    """Eight pictures, the third of which is damaged."""
    folder = tmp_path_factory.mktemp("world")
    shapes.write_coco(folder, COUNT, 9)
    (folder / "images" / "000002.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    return coco.read(folder, "all")


def in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "WORTHWHILE", 2)


def test_two_processes_answer_as_one_does(data: coco.Coco, monkeypatch: pytest.MonkeyPatch) -> None:
    def timeless(answers: list[answering.Answer | str]) -> list[answering.Answer | str]:
        return [one if isinstance(one, str) else {**one, "milliseconds": 0} for one in answers]

    load = partial(Predictor, MINI)
    with monkeypatch.context() as patched:
        patched.delattr(answering, "ProcessPoolExecutor")  # so few pictures are not worth a process
        alone = list(answering.answers(load(), data.records, load, processes=2))
    assert alone[2] == "The PNG image is damaged or cut off, and cannot be read."
    in_two(monkeypatch)
    unasked: Predictor = None  # type: ignore[assignment]
    assert timeless(list(answering.answers(unasked, data.records, load, processes=2))) == timeless(alone)


def killed() -> Predictor:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_process_that_is_killed_is_told_of(data: coco.Coco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_two(monkeypatch)
    with pytest.raises(evaluate.EvaluationError, match=r"for want of memory: .* --processes 1 goes on"):
        evaluate.evaluate(Predictor(MINI), "sha", data, "all", None, tmp_path, killed, 2)


def children(parent: int) -> list[int]:
    threads = Path(f"/proc/{parent}/task").iterdir()
    return [int(one) for thread in threads for one in (thread / "children").read_text().split()]


def runs(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@pytest.mark.slow
def test_an_evaluation_that_is_killed_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    count = 2 * answering.WORTHWHILE
    shapes.write_coco(tmp_path / "world", count, 9)
    command = [sys.executable, "-m", "training.evaluate", "--checkpoint", "models/mini-checkpoint"]
    command += ["--image-size", "128", "--processes", "2", "--data", str(tmp_path / "world")]
    deadline = time.monotonic() + 240

    def wait(there: Callable[[], bool]) -> None:
        while not there():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    written = tmp_path / "cut" / "predictions.jsonl"
    first = subprocess.Popen([*command, "--out", str(tmp_path / "cut")], cwd=ROOT)
    wait(lambda: first.poll() is not None or (written.exists() and written.read_bytes().count(b"\n") >= 5))
    others = children(first.pid)
    assert len(others) >= 2
    first.kill()
    first.wait()
    wait(lambda: not any(map(runs, others)))
    assert written.read_bytes().count(b"\n") < count

    said = []
    for name in ("cut", "once"):
        subprocess.run([*command, "--out", str(tmp_path / name)], cwd=ROOT, check=True)
        lines = (tmp_path / name / "predictions.jsonl").read_text().splitlines()
        said.append([json.loads(line) for line in lines])
    assert [one["image_id"] for one in said[0]] == list(range(count))
    assert [one["caption"]["text"] for one in said[0]] == [one["caption"]["text"] for one in said[1]]
