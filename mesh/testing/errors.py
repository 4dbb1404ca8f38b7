"""How a test fails: it asked for what is not there, or what it waited for never came. Each says what there was instead."""

from __future__ import annotations


class Misused(AssertionError):
    """The test gives or asks for something that the service or its contracts do not have."""


class NeverCame(AssertionError):
    """What the test waited for did not come to be."""
