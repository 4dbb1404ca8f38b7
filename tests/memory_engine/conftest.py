"""Every test here has the engine installed."""

from __future__ import annotations

import pytest

from tests.memory_engine.installing import install


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
