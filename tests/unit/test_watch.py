"""Who is dead: an owner silent for a full lease, watched without a gap, or one whose process is gone."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from forkworker.keeper.watch import PROOF_SECONDS, Watch

pytestmark = pytest.mark.unit

LEASE, INTERVAL = 5.0, 1.0


@dataclass
class Look:
    """One look: when, the beats seen then, who is provably gone, and who counts as dead."""

    at: float
    beats: dict[str, str]
    gone: set[str] = field(default_factory=set)
    dead: list[str] = field(default_factory=list)


def silent(identity: str, *instants: float, dead_at: float = -1.0) -> list[Look]:
    """Looks at an owner that shows the same beat again and again."""
    return [Look(at, {identity: "7"}, dead=[identity] if at >= dead_at >= 0 else []) for at in instants]


@pytest.mark.parametrize(
    "looks",
    [
        silent("a", 10, 11, 12, 13, 14, 14.9),
        silent("a", 10, 11, 12, 13, 14, 15, 16, dead_at=15),
        silent("a", 10, 13, 16, dead_at=15),
        [Look(10 + n, {"a": str(n)}) for n in range(20)],
        [Look(10 + n, {"a": str(n // 4)}) for n in range(20)],
        [
            *silent("a", 10, 11, 12, 13, 14),
            Look(14.9, {"a": "8"}),
            *(Look(t, {"a": "8"}) for t in (16, 17, 18, 19)),
        ],
        [
            *(Look(t, {"a": "8"}) for t in (10, 11, 12, 13, 14)),
            Look(14.5, {"a": "8"}),
            Look(16, {"a": "8"}, dead=["a"]),
            Look(17, {"a": "9"}),
        ],
        [Look(10 + n, {"a": ""}, dead=["a"] if n >= 5 else []) for n in range(7)],
        [
            *(Look(t, {"a": "7", "b": str(t)}) for t in (10, 11, 12, 13, 14)),
            Look(15, {"a": "7", "b": "15"}, dead=["a"]),
        ],
        [
            Look(10, {"a": "7"}),
            Look(12, {}),
            Look(14, {"a": "7"}),
            Look(16, {"a": "7"}),
            Look(18, {"a": "7"}),
        ],
        # a gap: nobody can say whether there was a beat meanwhile that was the same by chance
        [*silent("a", 10, 11, 12), *silent("a", 15.1, 16, 17, 18, 19, 20), *silent("a", 21, dead_at=20.1)],
        [*silent("a", 10, 13), *silent("a", 15.9, dead_at=15)],
        [Look(10, {"a": "7"}), Look(1000, {"a": "7"}), Look(1001, {"a": "7"})],
    ],
    ids=[
        *("silent for less than a lease", "silent for a lease", "seldom looked at", "beats", "slow beats"),
        *("a beat at the last moment", "awake again", "no beat at all", "one of two", "out of sight between"),
        *("a gap begins the lease anew", "a long pause is no gap yet", "suspended"),
    ],
)
def test_silence_counts_from_when_the_last_beat_was_first_seen(looks: list[Look]) -> None:
    watch = Watch(LEASE, INTERVAL)

    for look in looks:
        assert (look.at, watch.look(look.beats, look.gone.__contains__, look.at)) == (look.at, look.dead)


@pytest.mark.parametrize(
    ("looks", "urgent"),
    [
        ([Look(10, {"a": "1"}, {"a"}), Look(10.2, {"a": "1"}, {"a"})], True),
        ([Look(10, {"a": "1"}, {"a"}), Look(10.5, {"a": "1"}, {"a"}, ["a"])], True),
        ([Look(10, {"a": "1"}), Look(11, {"a": "1"}, {"a"}), Look(11.5, {"a": "1"}, {"a"}, ["a"])], True),
        ([Look(10, {"a": "1"}, {"a"}), Look(10.5, {"a": "2"}, {"a"}, ["a"])], True),
        ([Look(10, {"a": "1"}, {"a"}), Look(10.3, {"a": "1"}), Look(10.6, {"a": "1"}, {"a"})], True),
        ([Look(10, {"a": "1"}, {"a"}), Look(10.3, {})], False),
        ([Look(10, {"a": "1"}), Look(11, {"a": "1"})], False),
        ([Look(10, {"a": "1", "b": "1"}, {"b"}), Look(10.5, {"a": "1", "b": "1"}, {"b"}, ["b"])], True),
    ],
    ids=[
        *("its own keeper has time", "then we take over", "gone later", "a beat does not matter"),
        *("gone by mistake", "taken over by another", "alive", "one of two"),
    ],
)
def test_proof_of_death_needs_no_lease_but_a_moment_for_its_own_keeper(looks: list[Look], urgent: bool) -> None:
    watch = Watch(LEASE, INTERVAL)

    for look in looks:
        assert (look.at, watch.look(look.beats, look.gone.__contains__, look.at)) == (look.at, look.dead)
    assert watch.is_urgent is urgent


def test_after_an_outage_everybody_gets_a_full_lease() -> None:
    watch = Watch(LEASE, INTERVAL)
    watch.look({"a": "7"}, lambda _: False, 10)
    watch.look({"a": "7"}, lambda _: False, 13)

    watch.forget()

    assert watch.look({"a": "7"}, lambda _: False, 15) == []
    assert watch.look({"a": "7"}, lambda _: False, 17) == []
    assert watch.look({"a": "7"}, lambda _: False, 19.5) == []
    assert watch.look({"a": "7"}, lambda _: False, 20) == ["a"]


@pytest.mark.parametrize("uptime", [0.0, 1.0, 1e6])
def test_the_first_look_finds_nobody_dead_however_long_the_host_is_up(uptime: float) -> None:
    assert Watch(LEASE, INTERVAL).look({"a": "7", "b": ""}, lambda _: False, uptime) == []


def test_proof_is_quicker_than_any_lease() -> None:
    assert PROOF_SECONDS < LEASE
