"""Any interleaving of what clients, owners and keepers do keeps each job in exactly one place.

Hypothesis plays owners (children) and keepers against a real Redis: they push, fetch, wait, settle,
give back, crash, are declared dead and wake up, restore, promote, bury and forget, in any order; replies
are lost after the command was executed, and commands come late, also after a restoration.  What the
server does must be what the reference says, and after each step the promises must hold.

``FORKWORKER_MODEL_EXAMPLES`` makes it run longer.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.snapshot import homes, jid_of, snapshot

from forkworker.errors import StoreUnavailable
from forkworker.store import orphans, queues, working
from forkworker.store.connection import Link, make_client
from store.actors import MOST_SETTLED, QUEUES, Bench, Fate, Keeper, Owner, Plan
from store.reference import listed

if TYPE_CHECKING:
    import redis as redispy
    from support.servers import RedisServer

    from forkworker.store.working import Kind

pytestmark = pytest.mark.store

EXAMPLES = int(os.environ.get("FORKWORKER_MODEL_EXAMPLES", "100"))
STEPS = 100
OWNERS, KEEPERS = 2, 2

number = st.integers(0, 11)
slots = st.integers(0, OWNERS - 1)
keeper_numbers = st.integers(0, KEEPERS - 1)
queue_names = st.sampled_from(QUEUES)
orders = st.permutations(QUEUES)
shares = st.one_of(st.just(()), st.tuples(st.integers(0, 3), st.integers(0, 3)))
#: half of all commands are answered
fates = st.sampled_from([*[Fate.ANSWERED] * 5, Fate.UNANSWERED, Fate.HALF, Fate.LATE, Fate.LATE, Fate.NEVER])
kinds = st.sampled_from(["done", "done", "failed", "retry", "bury", "reject"])


class Model(RuleBasedStateMachine):
    """The rules are what may happen, the invariants what is promised."""

    link: Link
    client: redispy.Redis

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.bench = Bench(self.link)
        self.keepers = [Keeper(self.bench) for _ in range(KEEPERS)]
        self.owners = [self._new_owner(slot) for slot in range(OWNERS)]
        self.plans: list[Plan] = []

    def _new_owner(self, slot: int) -> Owner:
        return Owner(self.bench, f"host:{slot}:{self.bench.next_serial():012x}")

    def _new_payload(self, queue: str, *, broken: bool = False) -> bytes:
        serial = self.bench.next_serial()
        job = {"class": "Job", "args": [], "jid": f"jid-{serial}", "queue": queue}
        return b"broken-%d" % serial if broken else json.dumps(job).encode()

    @initialize(counts=st.tuples(*[st.integers(0, 4)] * OWNERS), alike=st.booleans())
    def some_are_at_work_already(self, counts: tuple[int, ...], *, alike: bool) -> None:
        for owner, count in zip(self.owners, counts, strict=True):
            self.push(QUEUES[0], 3, alike=alike, broken=False)
            if count:
                owner.reconcile(Fate.ANSWERED, 0)
                owner.trade(count, QUEUES, Fate.ANSWERED)

    # Clients

    @rule(queue=queue_names, count=st.integers(1, 3), alike=st.booleans(), broken=st.booleans())
    def push(self, queue: str, count: int, *, alike: bool, broken: bool) -> None:
        """Some jobs, the first of them perhaps a second time in the same bytes, and perhaps what is no job."""
        payloads = [self._new_payload(queue) for _ in range(count)]
        payloads += payloads[:1] * alike + [self._new_payload(queue, broken=True)] * broken
        queues.push(self.client, queue, payloads)
        self.bench.expected.push(queue, payloads)
        self.bench.accepted.update(map(jid_of, payloads))

    @rule(queue=queue_names, seconds=st.integers(-1, 2), broken=st.booleans())
    def schedule(self, queue: str, seconds: int, *, broken: bool) -> None:
        payload = self._new_payload(queue, broken=broken)
        when = self.bench.now + seconds
        queues.schedule(self.client, [(payload, when)])
        self.bench.expected.schedule(payload, when)
        self.bench.accepted[jid_of(payload)] += 1

    @rule(seconds=st.sampled_from([1.0, 5.0, 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.now += seconds

    # Owners

    @rule(slot=slots, count=st.integers(0, 4), order=orders, shares=shares, fate=fates, step=st.integers(0, 2))
    def take_a_turn(
        self, slot: int, count: int, *, order: list[str], shares: tuple[int, ...], fate: Fate, step: int
    ) -> None:
        """Reconcile if in doubt, or settle and fetch."""
        owner = self.owners[slot]
        if owner.stuck:
            self.rescue(slot, fate)
        elif owner.in_doubt and not owner.is_taken:
            owner.reconcile(fate, step)
        else:
            owner.trade(count, order, fate, shares)

    @rule(slot=slots, queue=queue_names, fate=fates)
    def wait(self, slot: int, queue: str, fate: Fate) -> None:
        if self.owners[slot].may_take:
            self.owners[slot].wait(queue, fate)

    @rule(slot=slots, came=st.booleans())
    def look_again(self, slot: int, *, came: bool) -> None:
        """So long after a loss of touch that what was under way has come by now, or never will."""
        owner = self.owners[slot]
        if owner.look_again and owner.may_take:
            self._let_come(owner.identity, came=came)
            owner.reconcile(Fate.ANSWERED, 0)

    def _let_come(self, identity: str, *, came: bool) -> None:
        for act in [act for act in self.bench.late if came and act.identity == identity]:
            self.bench.late.remove(act)
            self.bench.run(act)
        self.bench.forget_late_moves(identity)

    @rule(slot=slots, which=number)
    def start(self, slot: int, which: int) -> None:
        owner = self.owners[slot]
        unstarted = [unit for unit in owner.hand if not unit.started and unit.kind is None]
        if unstarted and not owner.is_taken and not owner.stuck:
            unstarted[which % len(unstarted)].started = True

    @rule(slot=slots, which=number, kind=kinds)
    def end(self, slot: int, which: int, kind: Kind) -> None:
        owner = self.owners[slot]
        if all(unit.kind or not unit.started for unit in owner.hand):
            self.start(slot, which)
        running = [unit for unit in owner.hand if unit.started and unit.kind is None]
        if running:
            unit = running[which % len(running)]
            owner.end(unit, kind if unit.payload.startswith(b"{") else "reject")

    @rule(slot=slots, count=st.integers(1, 3))
    def give_back(self, slot: int, count: int) -> None:
        owner = self.owners[slot]
        if not owner.is_taken and not owner.stuck:
            owner.give_back(count)

    @rule(slot=slots, fate=fates)
    def rescue(self, slot: int, fate: Fate) -> None:
        """Its keeper waits for the end of its own commands: none comes late."""
        owner = self.owners[slot]
        if not owner.is_taken:
            owner.rescue(Fate.NEVER if fate is Fate.LATE else fate)

    @rule(slot=slots)
    def crash(self, slot: int) -> None:
        self.owners[slot].crash()
        self.owners[slot] = self._new_owner(slot)

    # Keepers

    @rule(slot=slots, fate=fates)
    def beat(self, slot: int, fate: Fate) -> None:
        self.owners[slot].beat(fate)

    @rule(keeper=keeper_numbers, which=number, looks=st.booleans(), fate=fates)
    def take(self, keeper: int, which: int, *, looks: bool, fate: Fate) -> None:
        """By what was seen now, or long ago."""
        one = self.keepers[keeper]
        if looks or not one.suspects:
            one.look()
        if one.suspects:
            one.take(one.suspects[which % len(one.suspects)], fate)

    @precondition(lambda self: self.bench.condemned)
    @rule(which=number, counted=st.booleans())
    def read_orphans(self, which: int, *, counted: bool) -> None:
        """What a keeper reads, it restores later; another may read the same."""
        identity = self.bench.condemned[which % len(self.bench.condemned)]
        plans = [Plan.read(self.bench, identity, queue, counted=counted) for queue in QUEUES]
        self.plans += [plan for plan in plans if plan.entries]

    @precondition(lambda self: self.plans)
    @rule(which=number, fate=fates, again=st.booleans())
    def restore(self, which: int, fate: Fate, *, again: bool) -> None:
        plan = self.plans[which % len(self.plans)]
        try:
            plan.restore(self.bench, fate)
        except StoreUnavailable:
            pass
        if not again:
            self.plans.remove(plan)

    @precondition(lambda self: self.bench.condemned)
    @rule(which=number, fate=fates, goodbye=st.booleans())
    def unregister(self, which: int, fate: Fate, *, goodbye: bool) -> None:
        identity = self.bench.condemned[which % len(self.bench.condemned)]
        if goodbye:
            self.keepers[0].farewell(identity, fate)
        self.keepers[0].sweep(identity, fate)

    @rule(keeper=keeper_numbers, source=st.sampled_from(["retry", "schedule"]), looks=st.booleans(), fate=fates)
    def promote(self, keeper: int, source: str, *, looks: bool, fate: Fate) -> None:
        """What was due now, or long ago."""
        if looks:
            self.keepers[keeper].read_due()
        self.keepers[keeper].promote(source, fate)

    @precondition(lambda self: self.bench.late)
    @rule(which=number)
    def a_late_command_comes(self, which: int) -> None:
        self.bench.run_late(which)

    # What is promised

    @invariant()
    def promises_hold(self) -> None:
        world = snapshot(self.client)
        self._each_job_is_in_exactly_one_place()
        self._what_a_list_holds_can_be_found(world)
        self._nobody_takes_from_the_living(world)
        self._the_living_know_what_they_have(world)
        self._counters_agree_with_what_counted(world)
        assert world == self.bench.expected.world()

    def _each_job_is_in_exactly_one_place(self) -> None:
        places = Counter({jid: len(keys) for jid, keys in homes(self.client).items()})
        assert places == self.bench.accepted - self.bench.ended

    @staticmethod
    def _what_a_list_holds_can_be_found(world: dict[str, Any]) -> None:
        lists = {name for name in world if name.startswith("working:")}
        assert lists <= {name.decode() for name in world.get("working", ())}

    def _living(self) -> list[Owner]:
        return [owner for owner in self.owners if not owner.is_taken]

    def _nobody_takes_from_the_living(self, world: dict[str, Any]) -> None:
        for owner in self._living():
            under_way = owner.batch.units if owner.batch else []
            held = [
                unit
                for unit in owner.hand
                if unit.identity == owner.identity
                and unit not in under_way
                and not self._may_go_with_its_twin(owner, unit.payload)
                and (unit.started or not (owner.stuck or unit.kind))
            ]
            for queue in QUEUES:
                content = Counter(world.get(listed(owner.identity, queue), ()))
                assert not Counter(unit.payload for unit in held if unit.queue == queue) - content

    def _may_go_with_its_twin(self, owner: Owner, payload: bytes) -> bool:
        """In a list, jobs of the same bytes are one as good as the other: see ADR 0006."""
        return payload in owner.given_back and self.bench.accepted[jid_of(payload)] > 1

    def _the_living_know_what_they_have(self, world: dict[str, Any]) -> None:
        for owner in self._living():
            if not owner.may_take or owner.look_again or self.bench.has_late_moves(owner.identity):
                continue
            for queue in QUEUES:
                name = listed(owner.identity, queue)
                content = Counter(world.get(name, ()))
                assert not content - Counter(unit.payload for unit in owner.hand if unit.working == name)

    def _counters_agree_with_what_counted(self, world: dict[str, Any]) -> None:
        for name, counted in (("processed", self.bench.processed), ("failed", self.bench.failed)):
            daily = [int(value) for key, value in world.items() if key.startswith(f"stat:{name}:")]
            assert int(world.get(f"stat:{name}", 0)) == sum(daily) == counted

    # The end of each example

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self._all_go_home()
            self.promises_hold()
            assert not [key for key in snapshot(self.client) if key.startswith("working")]

    def _all_go_home(self) -> None:
        """Everybody stops; whoever comes next finds all that was left by the set of working lists alone."""
        while self.bench.late:
            self.bench.run_late(0)
        for owner in self.owners:
            self._settle_all(owner)
            owner.crash()
        keeper = self.keepers[0]
        keeper.look()
        for identity in keeper.suspects:
            keeper.take(identity, Fate.ANSWERED)
            for queue in QUEUES:
                Plan.read(self.bench, identity, queue, counted=True).restore(self.bench, Fate.ANSWERED)
            keeper.sweep(identity, Fate.ANSWERED)

    @staticmethod
    def _settle_all(owner: Owner) -> None:
        while owner.batch or owner.outcomes:
            owner.trade(0, QUEUES, Fate.ANSWERED)


@pytest.mark.timeout(300 + 2 * EXAMPLES)  # making a failing example small takes up to five minutes
def test_any_interleaving_keeps_each_job_in_exactly_one_place(redis_server: RedisServer) -> None:
    link = Link(redis_server.url, preload={*orphans.SCRIPTS, *working.SCRIPTS})
    client = make_client(redis_server.url)
    model = type("Model", (Model,), {"link": link, "client": client})
    try:
        run_state_machine_as_test(
            model,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        link.close()
        client.close()


def test_a_twin_of_what_was_given_back_and_rescued_at_once_may_be_put_back_while_it_runs(
    redis_server: RedisServer, redis: redispy.Redis
) -> None:
    """Found by Hypothesis: in a working list, jobs of the same bytes are one as good as the other."""
    link = Link(redis_server.url, preload={*orphans.SCRIPTS, *working.SCRIPTS})
    model = type("Model", (Model,), {"link": link, "client": make_client(redis_server.url)})()
    model.push("high", 1, alike=True, broken=False)
    owner = model.owners[0]
    owner.reconcile(Fate.ANSWERED, 0)
    owner.trade(2, QUEUES, Fate.ANSWERED)
    model.start(0, 0)
    model.give_back(0, 1)
    model.rescue(0, Fate.ANSWERED)
    model.promises_hold()
    owner.reconcile(Fate.ANSWERED, 0)
    owner.trade(0, QUEUES, Fate.ANSWERED)

    model.promises_hold()
    assert redis.llen("queue:high") == 2
    link.close()


def test_a_batch_of_the_model_is_smaller_than_a_hand() -> None:
    """So that outcomes wait for a second batch while the first is in doubt."""
    assert MOST_SETTLED < 4
