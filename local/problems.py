"""Errors that the person at the keyboard can mend: shown in one line, without a traceback."""

from __future__ import annotations


class Problem(Exception):
    """The message says what is wrong and what to do."""
