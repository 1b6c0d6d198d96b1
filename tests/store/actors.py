"""Owners and keepers as the model plays them, and a line that loses replies and delays commands.

An Owner does with the store what runtime/exchange.py does, a Keeper what keeper/restorer.py, watch.py
and poller.py do, each in steps that the model can interleave with those of all others.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from support.snapshot import jid_of

from forkworker.errors import IdentityTaken, StoreUnavailable
from forkworker.store import orphans, processes, sets, working
from forkworker.store.orphans import CRASHES_THAT_BURY, Entry
from forkworker.store.processes import Beat
from forkworker.store.sets import Promotion
from store.reference import COUNTED, ENDS, TAKEN, Reference, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forkworker.store.connection import Command, Link
    from forkworker.store.working import Kind, Settlement

    Predict = Callable[[], Any]

QUEUES = ("high", "default")
ORIGIN = "here 2"
CONCURRENCY = 2
MOST_SETTLED = 3


class Fate(Enum):
    """What becomes of commands that are sent together."""

    ANSWERED = "all as it should be"
    UNANSWERED = "executed, the reply is lost"
    HALF = "the first executed, all else later, no reply"
    LATE = "executed some time later, no reply"
    NEVER = "lost on the way"


@dataclass
class Act:
    """A command, and what the reference says that it does."""

    kind: str
    identity: str
    command: Command
    predict: Predict
    learn: Callable[[Any], None]


class Bench:
    """The real Redis, what is expected of it, commands that are still to come, and the books."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.expected = Reference()
        self.late: list[Act] = []
        self.now = 1_700_000_000.0
        self.serial = 0
        #: owners whose jobs may be restored: crashed, or declared dead
        self.condemned: list[str] = []
        self.crashed: dict[str, Owner] = {}
        # The books hold what Redis has said, not what the reference expected.
        self.accepted: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.processed = 0
        self.failed = 0
        self._booked: set[tuple[str, int]] = set()

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def run(self, act: Act) -> Any:
        """Execute for real; the reply must be the one that the reference gives."""
        expected = act.predict()
        try:
            reply = self.link.execute(*act.command)
        except IdentityTaken:
            reply = TAKEN
        assert reply == expected, f"{act.kind} of {act.identity}: {reply!r}, not {expected!r}"
        act.learn(reply)
        return reply

    def run_late(self, number: int) -> None:
        self.run(self.late.pop(number % len(self.late)))

    def forget_late_moves(self, identity: str) -> None:
        """So much time has passed that what an owner had sent has come or never will, but for what is fenced."""
        harmful = ("move",) if identity in self.expected.taken else ("move", "fetch")
        self.late = [act for act in self.late if act.identity != identity or act.kind not in harmful]

    def has_late_moves(self, identity: str) -> bool:
        return any(act.identity == identity and act.kind in ("move", "fetch") for act in self.late)

    def condemn(self, identity: str) -> None:
        if identity not in self.condemned:
            self.condemned.append(identity)

    def book(self, identity: str, number: int, settlements: Sequence[Settlement], flags: bytes) -> None:
        """Enter a batch; sent again it must not count again."""
        if (identity, number) in self._booked:
            return
        self._booked.add((identity, number))
        counted = [s for s, flag in zip(settlements, flags.decode(), strict=False) if flag == "1"]
        self.ended.update(jid_of(s.payload) for s in counted if s.kind in ENDS)
        self.processed += sum(s.kind in COUNTED for s in counted)
        self.failed += sum(s.kind in COUNTED and s.kind != "done" for s in counted)


def _nothing(_reply: object) -> None:
    pass


class Line:
    """Stands in for a Link: each command comes with a prediction; replies may be lost, commands late."""

    def __init__(
        self,
        bench: Bench,
        kind: str,
        identity: str,
        *predictions: Predict,
        fate: Fate = Fate.ANSWERED,
        learn: Callable[[Any], None] = _nothing,
    ) -> None:
        self._bench = bench
        self._kinds = kind.split()
        self._identity = identity
        self._predictions = predictions
        self._fate = fate
        self._learn = learn

    def execute(self, *command: Any) -> Any:
        return self.pipeline([command])[0]

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        replies = []
        for number, command in enumerate(commands):
            kind = self._kinds[min(number, len(self._kinds) - 1)]
            learn = self._learn if number == 0 else _nothing
            act = Act(kind, self._identity, command, self._predictions[number], learn)
            if self._fate is Fate.LATE or (self._fate is Fate.HALF and number > 0):
                self._bench.late.append(act)
            elif self._fate is not Fate.NEVER:
                replies.append(self._bench.run(act))
        if self._fate is not Fate.ANSWERED:
            raise StoreUnavailable(self._fate.value)
        if TAKEN in replies:
            raise IdentityTaken
        return replies


@dataclass(eq=False)
class Unit:
    """One payload in an owner's hand."""

    payload: bytes
    queue: str
    identity: str
    started: bool = False
    #: its end is decided, and not settled
    kind: Kind | None = None

    @property
    def working(self) -> str:
        return listed(self.identity, self.queue)


@dataclass
class Batch:
    """A settle command, sent as it is until its reply is there."""

    identity: str
    number: int
    settlements: list[Settlement]
    units: list[Unit]
    now: float
    command: Command


@dataclass
class Owner:
    """A child: takes, runs, settles."""

    bench: Bench
    identity: str
    hand: list[Unit] = field(default_factory=list)
    outcomes: list[tuple[Unit, Settlement]] = field(default_factory=list)
    batch: Batch | None = None
    number: int = 0
    in_doubt: bool = True
    look_again: bool = False
    stuck: bool = False
    #: what went back, or will, without having been started
    given_back: set[bytes] = field(default_factory=set)
    #: identities that it has lost; their lists are made known again, lest a late wait has filled them
    left_behind: list[str] = field(default_factory=list)

    @property
    def is_taken(self) -> bool:
        """Whether it was declared dead; its lease was over before."""
        return self.identity in self.bench.expected.taken

    @property
    def may_take(self) -> bool:
        return not (self.in_doubt or self.stuck or self.is_taken)

    # Jobs

    def end(self, unit: Unit, kind: Kind) -> None:
        unit.kind = kind
        new = told(unit.payload, self.bench.next_serial())
        score = self.bench.now + 1.0 if kind == "retry" else self.bench.now
        settlement = working.Settlement(kind, unit.queue, unit.working, unit.payload, new, score)
        self.outcomes.append((unit, settlement))

    def give_back(self, count: int) -> None:
        """The newest of those not started go back, the newest first."""
        unstarted = [unit for unit in self.hand if not unit.started and unit.kind is None]
        for unit in unstarted[::-1][:count]:
            self.given_back.add(unit.payload)
            self.end(unit, "back")

    # Redis

    def trade(self, count: int, queues: Sequence[str], fate: Fate, shares: Sequence[int] = ()) -> None:
        """Settle and fetch in one round trip."""
        self.batch = self.batch or self._next_batch()
        commands, predictions, kinds = [], [], []
        if batch := self.batch:
            commands, predictions, kinds = [batch.command], [self._settling(batch)], ["settle"]
        if count and not self.in_doubt and not self.stuck:  # one declared dead may try: the fence stands
            commands.append(working.fetch(self.identity, queues, count, shares))
            identity = self.identity
            predictions.append(lambda: self.bench.expected.fetch(identity, queues, count, shares))
            kinds.append("fetch")
        if not commands:
            return
        line = Line(self.bench, " ".join(kinds), self.identity, *predictions, fate=fate, learn=self._booking(batch))
        try:
            replies = line.pipeline(commands)
        except (StoreUnavailable, IdentityTaken):
            self._lose_touch()
            return
        if batch:
            self._confirm(batch)
        if kinds[-1] == "fetch":
            for queue, payloads in zip(queues, replies[-1], strict=False):
                self.hand += [Unit(payload, queue, self.identity) for payload in payloads]

    def wait(self, queue: str, fate: Fate) -> None:
        """What an armed wait brings."""
        identity = self.identity
        line = Line(self.bench, "move", identity, lambda: self.bench.expected.move(identity, queue), fate=fate)
        try:
            payload = line.execute("LMOVE", f"queue:{queue}", listed(identity, queue), "RIGHT", "LEFT")
        except StoreUnavailable:
            self._lose_touch()
            return
        if payload is not None:
            self.hand.append(Unit(payload, queue, identity))

    def reconcile(self, fate: Fate, step: int) -> None:
        """Compare the working lists with what is in hand; the fate befalls one of the three steps."""
        fates = [fate if number == step else Fate.ANSWERED for number in range(3)]
        try:
            self._register(fates[0])
            if batch := self.batch:
                line = Line(
                    self.bench,
                    "settle",
                    batch.identity,
                    self._settling(batch),
                    fate=fates[1],
                    learn=self._booking(batch),
                )
                line.execute(*batch.command)
                self._confirm(batch)
            self._take_unknown(fates[2])
        except StoreUnavailable:
            self._lose_touch()
            return
        if self.in_doubt:
            self.in_doubt = False
        else:
            self.look_again = False

    def _register(self, fate: Fate) -> None:
        for identity in [*self.left_behind, self.identity]:
            predictions = self.bench.expected.register(identity, QUEUES, ORIGIN)
            line = Line(self.bench, "register", identity, *predictions, fate=fate)
            line.pipeline(working.register(identity, QUEUES, ORIGIN))
        self.left_behind = []

    def _take_unknown(self, fate: Fate) -> None:
        if fate is not Fate.ANSWERED:
            raise StoreUnavailable(fate.value)
        known = Counter((unit.working, unit.payload) for unit in self.hand)
        contents = self.bench.link.pipeline(working.contents(self.identity, QUEUES))
        for queue, newest_first in zip(QUEUES, contents, strict=True):
            name = listed(self.identity, queue)
            for payload in reversed(newest_first):
                if known[name, payload] > 0:
                    known[name, payload] -= 1
                else:
                    self.hand.append(Unit(payload, queue, self.identity))

    def _lose_touch(self) -> None:
        self.in_doubt = self.look_again = True

    def _next_batch(self) -> Batch | None:
        if not self.outcomes:
            return None
        some, self.outcomes = self.outcomes[:MOST_SETTLED], self.outcomes[MOST_SETTLED:]
        self.number += 1
        settlements = [settlement for _, settlement in some]
        command = working.settle(self.identity, self.number, settlements, self.bench.now)
        units = [unit for unit, _ in some]
        return Batch(self.identity, self.number, settlements, units, self.bench.now, command)

    def _settling(self, batch: Batch) -> Predict:
        return lambda: self.bench.expected.settle(batch.identity, batch.number, batch.settlements, batch.now)

    def _booking(self, batch: Batch | None) -> Callable[[Any], None]:
        if batch is None:
            return _nothing
        return lambda flags: self.bench.book(batch.identity, batch.number, batch.settlements, flags)

    def _confirm(self, batch: Batch) -> None:
        self.batch = None
        for unit in batch.units:
            self.hand.remove(unit)

    # Its own keeper, and its end

    def beat(self, fate: Fate) -> None:
        """Its keeper shows that it lives, or learns that others have declared it dead."""
        identity, text = self.identity, str(self.bench.next_serial())
        sign = Beat(identity=identity, origin=ORIGIN, fields={"beat": text}, queues=QUEUES, work={})
        line = Line(
            self.bench,
            "beat",
            identity,
            lambda: self.bench.expected.beat(identity, QUEUES, ORIGIN, text),
            fate=fate,
        )
        try:
            processes.beat(line, sign, 60.0)  # type: ignore[arg-type]
        except IdentityTaken:
            self.renew()
        except StoreUnavailable:
            pass

    def renew(self) -> None:
        """Go on under a new nonce; what runs, runs on."""
        self.left_behind.append(self.identity)
        self.hand = [unit for unit in self.hand if unit.started or unit.kind is not None]
        host, pid, _ = self.identity.split(":")
        self.identity = f"{host}:{pid}:{self.bench.next_serial():012x}"
        self.in_doubt, self.stuck = True, False

    def rescue(self, fate: Fate) -> None:
        """Its keeper finds it stuck and gives back what it has not started; until then it must start nothing."""
        self.stuck = True
        try:
            for queue in QUEUES:
                self._rescue(queue, fate)
        except StoreUnavailable:
            return
        self.stuck = False
        self.in_doubt = True
        self.hand = [unit for unit in self.hand if unit.started or unit.kind is not None]

    def _rescue(self, queue: str, fate: Fate) -> None:
        keep = Counter(unit.payload for unit in self.hand if unit.queue == queue and unit.started)
        unstarted = []
        for payload in reversed(orphans.contents(self.bench.link, self.identity, queue)):
            if keep[payload] > 0:
                keep[payload] -= 1
            else:
                unstarted.append(Entry(payload))
        if unstarted:
            Plan(self.identity, queue, unstarted[::-1]).restore(self.bench, fate)

    def crash(self) -> None:
        self.bench.condemn(self.identity)
        self.bench.crashed[self.identity] = self


@dataclass
class Plan:
    """What a keeper has read of a working list, and will do about it, maybe much later."""

    identity: str
    queue: str
    entries: list[Entry]

    @classmethod
    def read(cls, bench: Bench, identity: str, queue: str, *, counted: bool) -> Plan:
        newest_first = orphans.contents(bench.link, identity, queue)
        crashed = cls._crashed(bench, identity, newest_first) if counted else [False] * len(newest_first)
        before = orphans.crashes(bench.link, [p for p, was in zip(newest_first, crashed, strict=True) if was])
        return cls(
            identity,
            queue,
            [
                cls._entry(bench, payload, before[payload], apart=number % 2 == 0) if was else Entry(payload)
                for number, (payload, was) in enumerate(zip(newest_first, crashed, strict=True))
            ],
        )

    @staticmethod
    def _entry(bench: Bench, payload: bytes, before: int, *, apart: bool) -> Entry:
        form = told(payload, bench.next_serial()) if before >= CRASHES_THAT_BURY - 1 else b""
        later = bench.now + 1.0 if apart and before == CRASHES_THAT_BURY - 2 else 0.0
        return Entry(payload, crashed=True, buried_form=form, later=later)

    @staticmethod
    def _crashed(bench: Bench, identity: str, newest_first: list[bytes]) -> list[bool]:
        """By the board, where it is there; else by age."""
        if owner := bench.crashed.get(identity):
            started = Counter(unit.payload for unit in owner.hand if unit.started and unit.identity == identity)
            flags = []
            for payload in newest_first:
                flags.append(started[payload] > 0)
                started[payload] -= 1
            return flags
        return [len(newest_first) - 1 - number < CONCURRENCY for number in range(len(newest_first))]

    def restore(self, bench: Bench, fate: Fate) -> None:
        identity, queue, entries, now = self.identity, self.queue, self.entries, bench.now
        line = Line(
            bench,
            "restore",
            identity,
            lambda: bench.expected.restore(identity, queue, entries, now),
            fate=fate,
        )
        orphans.restore(line, identity, queue, entries, now)  # type: ignore[arg-type]


class Keeper:
    """Watches others, restores, promotes."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._beats: dict[str, str] = {}
        self._promotions: dict[str, list[Promotion]] = {}

    def look(self) -> None:
        """Note the beats of all that own a list."""
        identities = sorted(orphans.owners(self._bench.link))
        self._beats = orphans.signs_of_life(self._bench.link, identities) if identities else {}

    @property
    def suspects(self) -> list[str]:
        return sorted(self._beats)

    def take(self, identity: str, fate: Fate) -> None:
        bench, seen = self._bench, self._beats[identity]

        def condemn(reply: int) -> None:
            if reply:
                bench.condemn(identity)

        line = Line(bench, "take", identity, lambda: bench.expected.take(identity, seen), fate=fate, learn=condemn)
        try:
            orphans.take(line, identity, seen)  # type: ignore[arg-type]
        except StoreUnavailable:
            pass

    def farewell(self, identity: str, fate: Fate) -> None:
        line = Line(self._bench, "farewell", identity, *self._bench.expected.farewell(identity), fate=fate)
        try:
            processes.farewell(line, identity)  # type: ignore[arg-type]
        except StoreUnavailable:
            pass

    def sweep(self, identity: str, fate: Fate) -> None:
        """The last look at the lists of a dead owner, when nothing that it had sent can come any more."""
        bench = self._bench
        line = Line(
            bench,
            "unregister",
            identity,
            lambda: bench.expected.unregister(identity, QUEUES),
            fate=fate,
            learn=lambda _: bench.forget_late_moves(identity),
        )
        try:
            orphans.unregister(line, identity, QUEUES)  # type: ignore[arg-type]
        except StoreUnavailable:
            pass

    def read_due(self) -> None:
        bench = self._bench
        due = sets.due(bench.link, bench.now)
        assert due.payloads == bench.expected.due(bench.now)
        assert due.next_at == bench.expected.next_at(bench.now)
        self._promotions = {
            source: [self._promotion(payload) for payload in payloads] for source, payloads in due.payloads.items()
        }

    def _promotion(self, payload: bytes) -> Promotion:
        try:
            job = json.loads(payload)
        except ValueError:
            return Promotion(payload, "", payload)
        if self._bench.expected.crashes[payload]:  # set apart by a keeper
            return Promotion(payload, job["queue"], payload)
        return Promotion(payload, job["queue"], json.dumps({**job, "enqueued_at": self._bench.now}).encode())

    def promote(self, source: str, fate: Fate) -> None:
        bench, now = self._bench, self._bench.now
        promotions = self._promotions.get(source)
        if not promotions:
            return
        line = Line(bench, "promote", "", lambda: bench.expected.promote(source, promotions, now), fate=fate)
        try:
            sets.promote(line, source, promotions, now)  # type: ignore[arg-type]
        except StoreUnavailable:
            pass


def told(payload: bytes, serial: int) -> bytes:
    """Return the payload with a note, or as it is if it can carry none."""
    try:
        return json.dumps({**json.loads(payload), "note": serial}).encode()
    except ValueError:
        return payload
