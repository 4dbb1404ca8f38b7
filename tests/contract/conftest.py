"""Suites are no test modules themselves: without this their assertions would say nothing when they fail."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.contract.runtime")
