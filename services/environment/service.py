"""Environment (环境): what stations measure, what follows from it, where pollution comes from, and what is done about it.

Its methods stand in one file a subject: `station_calls.py`, `source_calls.py`, `exceedance_calls.py`, `case_calls.py`,
`outlook_calls.py`, `account_calls.py`, `firm_calls.py`.
"""

from __future__ import annotations

from citybrain.services.environment.firm_calls import FirmCalls


class EnvironmentService(FirmCalls):
    """Everything that environment answers."""

    name = "environment"
