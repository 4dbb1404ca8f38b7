"""Why a test fails: it asked for something that is not there, or waited for something that never came. The text says more."""

from __future__ import annotations


class Misused(AssertionError):
    """The test gives or asks for something that the service or its contracts do not have."""


class NeverCame(AssertionError):
    """What the test waited for did not come."""
