"""A small client of the city: calls with tokens and retries, and subscriptions that go on where they were.

from citybrain.client import City

with City("127.0.0.1:8080", token=Path("xihu.token")) as city:
    for heard in city.subscribe("xihu", checkpoint="xihu.place"):
        print(heard.event.type, heard.message)
"""

from __future__ import annotations

from citybrain.client.checkpoints import Checkpoint, FileCheckpoint, Place
from citybrain.client.city import City
from citybrain.client.problems import Problem, problem_of
from citybrain.client.subscribing import Heard, Subscription

__all__ = ["Checkpoint", "City", "FileCheckpoint", "Heard", "Place", "Problem", "Subscription", "problem_of"]
