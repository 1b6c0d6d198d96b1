"""A page of a Web UI as its reader has it: texts, tables, forms.  Runs in the test process."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Form:
    """One form and what a browser would send of it."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    #: name -> value
    buttons: dict[str, str] = field(default_factory=dict)

    def pressed(self, button: str, only: str = "") -> bytes:
        """Return what is sent when a button is pressed, all boxes being ticked, or ``only`` this."""
        sent = [(name, value) for name, value in self.fields if not only or name != "key[]" or value == only]
        return urllib.parse.urlencode([*sent, (button, self.buttons[button])]).encode()

    def has(self, where: dict[str, str]) -> bool:
        """Whether its action and hidden fields are these; '' for none."""
        own = {"action": self.action, **dict(self.fields)}
        return all(own.get(name, "") == value for name, value in where.items())


class Page(HTMLParser):
    """One answer, read."""

    def __init__(self, status: int, address: str, text: str) -> None:
        super().__init__()
        self.status = status
        #: where it was found, after redirections
        self.path = urllib.parse.urlsplit(address).path
        self.text = text
        self.forms: list[Form] = []
        #: the cells of each row, header rows included
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        #: text of each element that has an id
        self.by_id: dict[str, str] = {}
        self.tags: set[str] = set()
        self._id = ""
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a browser would act on."""
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self._id = given.get("id", "")
        if tag == "form":
            self.forms.append(Form(given.get("action", "")))
        elif tag in ("input", "button") and "name" in given:
            self._note_input(given)
        elif tag == "a":
            self.links.append(given.get("href", ""))
        elif tag in ("tr", "thead"):  # some heads have no row
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._cell = True

    def _note_input(self, given: dict[str, str]) -> None:
        name, value = given["name"], given.get("value", "")
        if given.get("type") == "submit":
            self.forms[-1].buttons[name] = value
        else:
            self.forms[-1].fields.append((name, value))

    def handle_endtag(self, tag: str) -> None:
        """Leave a cell."""
        if tag in ("td", "th", "tr", "table"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        """Note a text where it stands."""
        if self._id:
            self.by_id[self._id] = self.by_id.get(self._id, "") + data.strip()
            self._id = ""
        if self._cell:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()

    def form(self, button: str, **where: str) -> Form:
        """Return the one form with such a button."""
        found = [form for form in self.forms if button in form.buttons and form.has(where)]
        assert len(found) == 1, f"{len(found)} forms have {button!r} and {where} at {self.path}"
        return found[0]

    def row(self, text: str) -> list[str]:
        """Return the one row of which a cell contains a text."""
        found = [row for row in self.rows if any(text in cell for cell in row)]
        assert len(found) == 1, f"{len(found)} rows have {text!r}: {self.rows}"
        return found[0]
