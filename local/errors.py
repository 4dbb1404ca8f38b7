"""What can be wrong with an engine."""

from __future__ import annotations


class EngineError(Exception):
    """An engine cannot be had, started or stopped; the message says why and what to do."""


class NotFetched(EngineError):
    """What an engine is made of is not on this machine and could not be downloaded."""
