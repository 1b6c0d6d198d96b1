"""The web application: it answers at once, and leaves the slow part to a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import greetings
from flask import Flask, abort, request


def create_app() -> Flask:
    """Make the application; "flask --app web run" calls it."""
    app = Flask(__name__)
    app.config["OUTBOX"] = str(Path(__file__).with_name("outbox"))
    app.config.from_prefixed_env()  # FLASK_OUTBOX

    @app.post("/greetings")
    def order_greeting() -> tuple[dict[str, Any], int]:
        name = request.get_json()["name"]
        return {"job": greetings.greet.enqueue(name)}, 202

    @app.get("/greetings/<name>")
    def show_greeting(name: str) -> str:
        text = greetings.read(name)
        return abort(404) if text is None else text

    return app
