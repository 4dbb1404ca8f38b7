"""The version of the project."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version of this installation; empty: it is not installed as a package."""
    try:
        return version("hangzhou-city-brain")
    except PackageNotFoundError:
        return ""
