"""Log lines on stderr or in a file: one JSON object each, with service, trace, span and incident."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from datetime import date
from enum import Enum
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path, PurePath
from typing import Any, TextIO
from uuid import UUID

import structlog
from opentelemetry import baggage, trace
from structlog.typing import ExcInfo, Processor
from typing_extensions import override

from citybrain.observability import names
from citybrain.observability.failures import told, traced
from citybrain.observability.terminal import escaped

_configured = False
# The lowest level that is written now. It may be changed while the process runs.
_least = logging.INFO


class LogFile(RotatingFileHandler):
    """Lines in a file that is begun anew when it is full; `kept` older ones stay beside it, as FILE.1 and so on."""

    def __init__(self, path: Path, megabytes: float, kept: int, *, takes_stderr: bool = False) -> None:
        """`takes_stderr`: the standard error of this process goes into the file too, also after the file was begun anew."""
        self._takes_stderr = takes_stderr
        # As standard error does: half a letter (a lone surrogate) is written with a backslash, and is no error.
        size = int(megabytes * 1024 * 1024)
        super().__init__(path, maxBytes=size, backupCount=kept, encoding="utf-8", errors="backslashreplace")

    @override
    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        if self._takes_stderr:
            os.dup2(stream.fileno(), sys.__stderr__.fileno() if sys.__stderr__ else 2)
        return stream

    def write(self, line: str) -> None:
        """Writes one line in one piece."""
        self.handle(logging.makeLogRecord({"msg": line}))

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: on a full disk a line is lost, and the work goes on."""


class _Lines:
    """Writes to a file, or to the present sys.stderr."""

    def __init__(self, file: LogFile | None) -> None:
        self._file = file

    def msg(self, message: str) -> None:
        """Writes one line in one piece: lines of several threads do not mix. On a full disk it is lost; the work goes on."""
        if self._file is not None:
            self._file.write(message)
            return
        with contextlib.suppress(OSError):
            sys.stderr.write(message + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = exception = fatal = failure = log = msg


class LibraryLines(logging.Handler):
    """Writes log records of libraries in the same form."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        level = min(record.levelno // 10 * 10, logging.CRITICAL)
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        # Beside an error asyncio shows what failed in further lines, with the error's text.
        message = record.getMessage().partition("\n")[0] if record.exc_info else record.getMessage()
        structlog.get_logger(service=record.name).log(level, message, **fields)


# What is done with each line. A logger that has said something keeps this very list: it is changed in place.
_STEPS: list[Any] = []


def logger(service: str) -> Any:
    """A structlog logger. Its lines name the service: `logger("health").info("what happened", field=value)`."""
    if not _configured:
        configure()
    return structlog.get_logger(service=service)


def set_level(least: str) -> str:
    """From now on writes lines of this level and above (debug, info, warning, error); returns what was the lowest before."""
    global _least
    before, _least = _least, logging.getLevelNamesMapping()[least.upper()]
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LibraryLines):
            handler.setLevel(max(_least, logging.WARNING))
    return logging.getLevelName(before).lower()


def configure(least: str = "info", *, pretty: bool = False, file: LogFile | None = None, version: str = "") -> None:
    """Sets up logging for this process, before its first line. `least`: the lowest level that is written. `pretty`: for people,
    not JSON, and with the texts of errors; production refuses it. `file`: in place of standard error. `version`: of the
    program; it stands in each line for programs.
    """
    global _configured
    _configured = True
    set_level(least)
    renderers: list[Any]
    if pretty:
        people = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), event_key="message", timestamp_key="time", exception_formatter=_traceback
        )
        renderers = [_escaped, people]
    else:
        renderers = [_versioned(version), _failed, structlog.processors.JSONRenderer(_dumps)]
    _STEPS[:] = [
        _loud_enough,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _correlation,
        structlog.processors.EventRenamer("message"),
        _in_order,
        *renderers,
    ]
    structlog.configure(
        processors=_STEPS,
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=lambda *_: _Lines(file),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(LibraryLines(max(_least, logging.WARNING)))


def _loud_enough(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if logging.getLevelNamesMapping().get(level.upper(), logging.ERROR) < _least:
        raise structlog.DropEvent
    return event


def _versioned(version: str) -> Processor:
    def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if version:
            event.setdefault("version", version)
        return event

    return add


def _correlation(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds trace, span and incident from the current span and baggage."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event.setdefault("trace_id", f"{span.trace_id:032x}")
        event.setdefault("span_id", f"{span.span_id:016x}")
    incident = baggage.get_baggage(names.INCIDENT_ID)
    if incident:
        event.setdefault("incident_id", str(incident))
    return event


def _failed(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Tells errors by their class and their place. Their texts may hold what nobody may read in a log."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event.setdefault("error", error)
        event["exception"] = traced(error)
    return {key: told(value) if isinstance(value, BaseException) else value for key, value in event.items()}


def _in_order(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Puts time, level, service and message first."""
    first = {key: event.pop(key) for key in ("time", "level", "service", "message") if key in event}
    return {**first, **event}


def _dumps(value: Any, **_: Any) -> str:
    return escaped(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: object) -> str | list[Any]:
    """A value that JSON does not have. Of any other object only its class is told: a message may be about a person."""
    if isinstance(value, BaseException):
        return told(value)
    if isinstance(value, set | frozenset):
        return list(value)
    return str(value) if isinstance(value, PurePath | date | Enum | UUID) else type(value).__name__


def _escaped(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escapes control characters in texts; other values are later shown as Python writes them."""
    return {escaped(key): escaped(value) if isinstance(value, str) else value for key, value in event.items()}


def _traceback(out: TextIO, error: ExcInfo) -> None:
    out.write("\n" + escaped("".join(traceback.format_exception(*error)), lines=True))
