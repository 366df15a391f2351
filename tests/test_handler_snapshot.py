"""SnapStart's hooks, called as AWS's runtime client calls them: what is warm before, what is gone after."""

import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
import snapshot_restore_py
from buckets import PLAIN, Store
from conftest import ROOT
from fakes import FakePredictor

from handler import snapshot, telemetry
from handler.storage import objects


@pytest.fixture
def hooks(predictor: FakePredictor) -> Iterator[None]:
    """Registered, and AWS's register emptied afterwards."""
    before, after = snapshot_restore_py.get_before_snapshot(), snapshot_restore_py.get_after_restore()
    kept = list(before), list(after)
    before.clear()
    after.clear()
    snapshot.register(predictor)
    yield
    before[:], after[:] = kept


def call(hooks_: list[tuple[object, ...]]) -> None:
    """As `awslambdaric` does: `bootstrap._handle_invocation` and `run`."""
    for function, arguments, named in hooks_:
        function(*arguments, **named)  # type: ignore[operator]


@pytest.mark.usefixtures("hooks")
def test_before_the_snapshot_one_picture_is_answered(predictor: FakePredictor) -> None:
    call(snapshot_restore_py.get_before_snapshot())
    assert [ask.task.name for ask in predictor.asked] == ["caption", "detect"]
    assert not telemetry.metrics.provider.metric_set  # the warm-up counts for no invocation


@pytest.mark.usefixtures("hooks")
def test_no_connection_is_in_the_snapshot_nor_survives_it(store: Store) -> None:
    first = objects.client()
    call(snapshot_restore_py.get_before_snapshot())
    assert objects.client.cache_info().currsize == 0
    second = objects.client()
    call(snapshot_restore_py.get_after_restore())
    assert objects.client() not in (first, second)
    assert store.put(PLAIN, "a", b"x")


@pytest.mark.usefixtures("hooks")
def test_copies_of_one_snapshot_draw_other_numbers() -> None:
    state = random.getstate()
    drawn = []
    for _ in range(3):
        random.setstate(state)  # what the snapshot holds
        call(snapshot_restore_py.get_after_restore())
        drawn.append(random.random())
    assert len(set(drawn)) == 3


def test_the_entry_point_registers() -> None:
    script = (
        "import handler.entrypoint, snapshot_restore_py as s; "
        "assert len(s.get_before_snapshot()) == len(s.get_after_restore()) == 1"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_without_awss_package_nothing_happens(predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", None)
    snapshot.register(predictor)
    assert predictor.asked == []
