"""What the quickstart found out, as a value and as a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The end of a demonstration."""

    #: jobs enqueued
    jobs: int
    #: from the first enqueue to the last result
    seconds: float
    #: the same work, one file after the other in one process
    sequential_seconds: float
    #: different child processes that were seen
    children: int
    #: jobs that were running when their process was killed, counted by forkworker in Redis
    recovered: int
    #: jobs that left no result
    lost: int
    #: results that differ from the sequential run's
    differences: int
    #: processes that were alive, and files that were there, after the daemon had stopped in order
    left_behind: tuple[str, ...]
    #: the daemon's exit status
    exit_status: int

    @property
    def all_is_well(self) -> bool:
        """Whether the demonstration shows what it promised."""
        return not (self.lost or self.differences or self.left_behind or self.exit_status)

    def lines(self) -> list[str]:
        """Return the table, a line each."""
        rows = {
            "jobs": f"{self.jobs}",
            "seconds": f"{self.seconds:.1f}  (one after the other: {self.sequential_seconds:.1f})",
            "children": f"{self.children}  (2 slots; the killed child was replaced)",
            "jobs recovered": f"{self.recovered}  (were running when their process was killed; ran again)",
            "jobs lost": f"{self.lost}",
            "differences": f"{self.differences}  (against a sequential run over the same files)",
            "left behind": f"{len(self.left_behind)}  (processes and files)",
        }
        if self.exit_status:
            rows["exit status"] = f"{self.exit_status}  (0 was expected of the daemon)"
        table = [f"  {name:<15} {value}" for name, value in rows.items()]
        return table + [f"  left behind:    {what}" for what in self.left_behind]
