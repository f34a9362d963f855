"""The loops: worker, linker, live and replay; the one place with threads and processes.

Every queue has a bound and a counter. Errors of one camera are said, counted and end there.
"""

from tracker.roles.family import live
from tracker.roles.following import worker
from tracker.roles.linking import linker, replay

__all__ = ["linker", "live", "replay", "worker"]
