"""SnapStart's hooks, called as AWS's runtime client calls them: what is warm before, what is gone after."""

import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
import snapshot_restore_py
from buckets import PLAIN, Store
from conftest import ROOT

from handler import snapshot
from handler.storage import objects


@pytest.fixture
def hooks() -> Iterator[None]:
    """Registered, and AWS's register emptied afterwards."""
    before, after = snapshot_restore_py.get_before_snapshot(), snapshot_restore_py.get_after_restore()
    kept = list(before), list(after)
    before.clear()
    after.clear()
    snapshot.register()
    yield
    before[:], after[:] = kept


def call(hooks_: list[tuple[object, ...]]) -> None:
    """As `awslambdaric` does: `bootstrap._handle_invocation` and `run`."""
    for function, arguments, named in hooks_:
        function(*arguments, **named)  # type: ignore[operator]


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


def test_the_entry_point_registers_and_is_warm_by_then() -> None:
    """The golden case, which warms it up, is answered at import and counts for no invocation."""
    script = (
        "from handler.florence import predictor; tested = []; whole = predictor.Predictor.self_test; "
        "predictor.Predictor.self_test = lambda one: tested.append(whole(one)); "
        "import handler.entrypoint, snapshot_restore_py as s; "
        "assert len(s.get_before_snapshot()) == len(s.get_after_restore()) == len(tested) == 1; "
        "assert not handler.entrypoint.telemetry.metrics.provider.metric_set"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_without_awss_package_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(snapshot_restore_py.get_before_snapshot())
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", None)
    snapshot.register()
    assert len(snapshot_restore_py.get_before_snapshot()) == before
