"""What forkworker imports: the application, which imports the jobs, and its context around each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from web import create_app

import forkworker

if TYPE_CHECKING:
    from collections.abc import Callable

app = create_app()


@forkworker.middleware.server.add
def in_application_context(_job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
    """Around every job, so that ``current_app`` and Flask's extensions work in it."""
    with app.app_context():
        return call_next()
