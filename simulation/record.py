"""The simulation's own record of what the mesh acknowledged and told, kept outside of the mesh: one JSON object a line.

    {"acknowledged": "citybrain.health.v1.HealthService/ReportMission", "request_id", "response": {…}, "city_time"}
    {"heard": event id, "on": stream id, "stream", "version", "type", "correlation_id"}

A line is flushed before the simulation goes on, so that what it acted on is in the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from citybrain.events.v1.event_pb2 import Event
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from citybrain.simulation.errors import SimulationError


class Record:
    """Appends to a file, or keeps nothing where none is given."""

    def __init__(self, file: Path | None) -> None:
        self._stream: TextIO | None = None
        try:
            self._stream = file.open("a", encoding="utf-8") if file is not None else None
        except OSError as error:
            raise SimulationError(f"{file}: cannot be written: {error.strerror}") from None

    def __enter__(self) -> Record:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.close()

    def acknowledged(self, method: str, request_id: str, response: Message, city_time: str) -> None:
        """A call was answered."""
        self._write(
            {
                "acknowledged": method,
                "request_id": request_id,
                "response": MessageToDict(response, preserving_proto_field_name=True),
                "city_time": city_time,
            }
        )

    def heard(self, stream_id: str, event: Event) -> None:
        """An event came on a stream."""
        self._write(
            {
                "heard": event.id,
                "on": stream_id,
                "stream": event.stream,
                "version": event.version,
                "type": event.type,
                "correlation_id": event.correlation_id,
            }
        )

    def _write(self, values: dict[str, Any]) -> None:
        if self._stream is not None:
            self._stream.write(json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n")
            self._stream.flush()
