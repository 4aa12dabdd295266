"""The schedule alone: readiness, what is left out, and cost."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue

import pytest

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.apply.schedule import Schedule, Unit
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.impact import Impact
from kvmplan.plan.change import Action, Change, Step


def change(name: str, *steps: tuple[int, tuple[int, ...]], host: str = LOCAL) -> Change:
    address = Address(host, Kind.NETWORK, name)
    made = tuple(Step(id_, address, Verb.START, after=after) for id_, after in steps)
    return Change(address, Action.UPDATE, steps=made)


def schedule(*changes: Change, at_once: int = 4) -> Schedule:
    return Schedule(changes, lambda: False, at_once)


def take(plan: Schedule, host: str = LOCAL) -> Unit:
    unit = plan.take(host)
    assert unit is not None
    return unit


def test_the_lowest_ready_step_comes_first() -> None:
    plan = schedule(change("b", (2, ())), change("a", (1, ()), (3, ())))
    order = []
    while (unit := plan.take(LOCAL)) is not None:
        order.append(unit.id)
        plan.finish(unit)
    assert order == [1, 2, 3]


def test_the_steps_of_one_change_never_overlap() -> None:
    plan = schedule(change("a", (1, ()), (2, ())), change("b", (3, ())))
    assert [take(plan).id, take(plan).id] == [1, 3]


def test_no_more_are_under_way_than_may_be() -> None:
    plan = schedule(*(change(name, (id_, ())) for id_, name in enumerate("abcd", 1)), at_once=2)
    first, second = take(plan), take(plan)
    taken: SimpleQueue[Unit] = SimpleQueue()

    def take_two() -> None:
        for _ in range(2):
            taken.put(take(plan))

    thread = threading.Thread(target=take_two, daemon=True)
    thread.start()
    with pytest.raises(Empty):
        taken.get(timeout=0.1)
    plan.carried_out(first)
    assert taken.get(timeout=10).id == 3
    plan.finish(first)
    with pytest.raises(Empty):
        taken.get(timeout=0.1)
    plan.fail(second, "x")
    assert taken.get(timeout=10).id == 4
    thread.join(10)


def test_a_failure_leaves_out_its_change_and_what_waits_for_it() -> None:
    plan = schedule(
        change("a", (1, ()), (2, ())),
        change("b", (3, (2,))),
        change("c", (4, (3,))),
        change("d", (5, ())),
    )
    unit = take(plan)
    ended = plan.fail(unit, unit.track.change.address)
    assert [track.change.address.name for track in ended] == ["b", "c"]
    assert take(plan).id == 5


def test_a_change_in_flight_ends_with_its_step() -> None:
    plan = schedule(change("a", (1, ())), change("b", (2, ()), (3, (1,))))
    first, second = take(plan), take(plan)
    assert plan.fail(first, "x") == []
    assert plan.finish(second)
    assert plan.take(LOCAL) is None


def test_what_waits_only_for_a_step_in_flight_of_a_doomed_change_goes_on() -> None:
    plan = schedule(change("a", (1, ())), change("b", (2, ()), (3, (1,))), change("c", (4, (2,))))
    first, second = take(plan), take(plan)
    plan.fail(first, "x")
    plan.finish(second)
    assert take(plan).id == 4


def test_a_change_without_steps_is_looked_at_once() -> None:
    plan = schedule(change("a"))
    unit = take(plan)
    assert (unit.step, unit.is_first, unit.is_last) == (None, True, True)
    plan.finish(unit)
    assert plan.take(LOCAL) is None


def test_hosts_wait_for_each_other() -> None:
    plan = schedule(change("a", (1, ()), host="one"), change("b", (2, (1,)), host="two"))
    unit = take(plan, "one")
    plan.finish(unit)
    assert take(plan, "two").id == 2


def test_ten_thousand_steps_cost_little() -> None:
    began = time.process_time()
    plan = schedule(*(change(f"n{n}", (2 * n + 1, ()), (2 * n + 2, ())) for n in range(5_000)))
    while (unit := plan.take(LOCAL)) is not None:
        plan.finish(unit)
    assert time.process_time() - began < 2.0


def restarting(name: str, *ids: int) -> Change:
    address = Address(LOCAL, Kind.DOMAIN, name)
    made = tuple(Step(id_, address, Verb.SHUTDOWN, impact=Impact.RESTART) for id_ in ids)
    return Change(address, Action.UPDATE, steps=made)


def test_what_is_put_off_comes_again_and_others_come_first() -> None:
    plan = schedule(change("a", (1, ())), change("b", (2, ())))
    first = take(plan)
    assert plan.put_off(first, 0.01) is False
    assert [take(plan).id, take(plan).id] == [2, 1]


def test_what_was_left_out_while_it_was_looked_at_is_not_put_off() -> None:
    plan = schedule(change("a", (1, ()), (2, ())))
    unit = take(plan)
    assert plan.halt("no") == []
    assert plan.put_off(unit, 0.0) is True
    assert plan.take(LOCAL) is None


def test_restarts_come_one_after_another_and_one_that_waits_lets_others_pass() -> None:
    plan = schedule(restarting("a", 1, 2), restarting("b", 3, 4), change("c", (5, ())))
    busy = take(plan)
    assert (busy.id, plan.put_off(busy, 3600)) == (1, False)
    unit = take(plan)
    assert (unit.id, take(plan).id) == (3, 5), "the queue of restarts goes on without a"
    plan.finish(unit)
    unit = take(plan)
    assert (unit.id, plan.put_off(unit, 0.0)) == (4, False), "b is under way and stays that"
    plan.finish(take(plan))


def test_no_restart_begins_after_a_failed_one() -> None:
    plan = schedule(restarting("a", 1, 2), restarting("b", 3), restarting("c", 4))
    unit = take(plan)
    left = plan.halt("enough", lambda it: it.restarts and it is not unit.track.change)
    assert [track.change.address.name for track in left] == ["b", "c"]
    assert plan.fail(unit, unit.track.change.address) == []
    assert plan.take(LOCAL) is None
