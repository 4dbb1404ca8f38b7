"""Errors of engines."""

from __future__ import annotations


class EngineError(Exception):
    """An engine cannot be downloaded, started or stopped; the message says why and what to do."""


class NotFetched(EngineError):
    """Jars of an engine are not on this machine and could not be downloaded."""
