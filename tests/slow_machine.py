"""The entry point on a machine that is as slow as the environment says, for tests of what time does to an answer.

| variable | seconds |
|---|---|
| `SLOW_STEP` | that a step of the decoder takes longer |
| `SLOW_VISION` | that the vision tower takes longer |
| `SLOW_LAST` | that vision and encoder took the last time |
"""

import os
import time
from typing import Any

from handler import entrypoint
from handler.florence.engine import Engine

_step, _see = Engine.step, Engine.see


def step(engine: Engine, *arguments: Any) -> Any:
    """As `Engine.step`, later."""
    time.sleep(float(os.environ.get("SLOW_STEP", "0")))
    return _step(engine, *arguments)


def see(engine: Engine, *arguments: Any) -> Any:
    """As `Engine.see`, later."""
    time.sleep(float(os.environ.get("SLOW_VISION", "0")))
    return _see(engine, *arguments)


Engine.step, Engine.see = step, see  # type: ignore[method-assign]
entrypoint.predictor._predictor._until_first_token = float(os.environ.get("SLOW_LAST", "0"))
handle = entrypoint.handle
