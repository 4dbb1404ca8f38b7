"""How often Python looks for garbage that refers to itself. By default a process of a city stands still for a tenth of a second
each time, since every object that lives is looked at; calls wait for that.
"""

from __future__ import annotations

import gc

# Objects that are new, and how often those are looked at before older ones are.
_NEW, _YOUNG, _OLD = 50_000, 20, 100


def collect_rarely() -> None:
    """Leaves out what is there now, which lives as long as the process, and looks at the rest a hundredth as often.

    Nearly all of what a service drops is freed at once, without being looked for: what waits is some megabytes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW, _YOUNG, _OLD)
