"""Errors of the gateway."""

from __future__ import annotations


class GatewayError(Exception):
    """The gateway cannot be configured or started; the message is one line that says why and what to do."""
