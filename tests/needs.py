"""What a test needs of the machine beside Python's packages."""

import os
from typing import NoReturn

import pytest


def missing(message: str) -> NoReturn:
    """It is not there: the test is skipped, and where CI=true it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
