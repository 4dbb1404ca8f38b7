"""The audit trail on a real Kafka and a real Cassandra, and `city audit` there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typing_extensions import override

from citybrain.cli.audit import app
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.mesh.audit import chain
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.engine import Engine, open_engine
from tests.contract.audit import WANG, AuditContract, trail_on


class TestAudit(AuditContract):
    """All of it."""

    @pytest.fixture(autouse=True)
    def _on(self, settings: Settings) -> None:
        self.settings = settings

    @asynccontextmanager
    @override
    async def engine(self, folder: Path) -> AsyncIterator[Engine]:
        engine = await open_engine(self.settings, [])
        try:
            yield engine
        finally:
            await engine.close()


def test_a_batch_that_was_removed_from_cassandra_is_named_by_the_command(settings: Settings, tmp_path: Path) -> None:
    async def write() -> None:
        engine = await open_engine(settings, [])
        trail = trail_on(engine)
        for _ in range(4):
            await trail.keep(WANG)
        await trail.close()
        await engine.close()

    async def remove() -> None:
        asked = await Asked.open(Place(settings.cassandra.addresses, keyspace=settings.cassandra.keyspace))
        table = f"{settings.cassandra.keyspace}.streams"
        rows = await asked.ask(f"SELECT stream, bucket, kind, version, id, type FROM {table}")
        for stream, bucket, kind, version, event_id, type_ in rows:
            if type_ == chain.BATCH and version == 2:
                where = "stream = %s AND bucket = %s AND kind = %s AND version = %s AND id = %s"
                await asked.ask(f"DELETE FROM {table} WHERE {where}", (stream, bucket, kind, version, event_id))
        asked.close()

    asyncio.run(write())
    config = tmp_path / "city.yaml"
    config.write_text(settings.model_dump_json(include={"data", "store", "kafka", "cassandra"}), encoding="utf-8")
    sound = CliRunner().invoke(app, ["verify", "--config", str(config)])
    assert (sound.exit_code, sound.stdout) == (0, "1 chain, 4 batches, 4 records: sound\n"), sound.exception
    listed = CliRunner().invoke(app, ["list", "--config", str(config), "--json", "--subject", "wang"])
    assert len(json.loads(listed.stdout)) == 4
    asyncio.run(remove())
    changed = CliRunner().invoke(app, ["verify", "--config", str(config), "--json"])
    assert changed.exit_code == 1, changed.exception
    (finding,) = json.loads(changed.stdout)["findings"]
    assert (finding["first"], finding["last"], finding["what"]) == (2, 2, "removed")
