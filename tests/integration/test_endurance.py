"""Nothing grows with the number of jobs; ``make endurance`` is the same with a hundred thousand."""

from __future__ import annotations

import pytest
from trials import endurance

pytestmark = pytest.mark.integration


@pytest.mark.timeout(180)
def test_jobs_and_their_failures_leave_nothing_behind_in_processes_or_in_redis() -> None:
    first, last = (sizes for _, sizes in endurance.run(2000, looks=2))
    assert endurance.growth(first, last) == []
