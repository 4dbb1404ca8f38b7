"""The audit trail on the embedded engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from typing_extensions import override

from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.engine import Engine, open_engine
from tests.contract.audit import AuditContract


class TestAudit(AuditContract):
    """All of it."""

    @asynccontextmanager
    @override
    async def engine(self, folder: Path) -> AsyncIterator[Engine]:
        engine = await open_engine(Settings(data=folder), [])
        try:
            yield engine
        finally:
            await engine.close()
