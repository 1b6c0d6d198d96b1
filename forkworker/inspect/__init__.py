"""Looking at what stands in Redis, and steering it: queues, sets, processes.  For scripts and web applications.

    from forkworker.inspect import Filter, Inspector

    here = Inspector()
    here.retries.retry_all(Filter(name="app.resize", error="TimeoutError"))

Nothing here reads a whole queue or set into memory.  Every move is one atomic step, which names its entry by its bytes.
"""

from forkworker.inspect.entry import Entry
from forkworker.inspect.filter import Filter
from forkworker.inspect.inspector import Inspector
from forkworker.inspect.kinds import Kind, Kinds
from forkworker.inspect.places import JobSet, Place, Queue, Tally
from forkworker.inspect.processes import Process, Running
from forkworker.store.overview import Day, Orphan, Overview, QueueSize

__all__ = [
    "Day",
    "Entry",
    "Filter",
    "Inspector",
    "JobSet",
    "Kind",
    "Kinds",
    "Orphan",
    "Overview",
    "Place",
    "Process",
    "Queue",
    "QueueSize",
    "Running",
    "Tally",
]
