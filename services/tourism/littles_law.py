"""How long people stay, from how many are there and how many come. Pure.

J. D. C. Little, *A proof for the queuing formula L = λW*, Operations Research 9 (1961): the mean number there is the arrivals
in a unit of time, times the mean stay. It holds whatever the order and the luck of comings and goings, over a time at whose
ends few are there beside those who come in it: a day of a place that is left in the night.
"""

from __future__ import annotations


def stay_minutes(mean_people: float, arrivals_an_hour: float) -> float:
    """The mean stay in minutes. `arrivals_an_hour`: above 0."""
    return 60.0 * mean_people / arrivals_an_hour
