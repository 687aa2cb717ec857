"""The simulation: the real decisions on a simulated clock, and what each of them is good for."""

from dataclasses import replace

import pytest

from benchmarks.load.arrivals import burst, poisson, steady
from benchmarks.load.figures import by_user, jain
from benchmarks.simulate import AS_SHIPPED, POLICIES, changes, figures_of, parsed, planned, simulated
from benchmarks.simulation.costs import COSTS, Mix
from benchmarks.simulation.world import World
from deployments.contract import Level
from deployments.scaling import Scaling

COST = COSTS["demo-cpu"]
OPTIONS = parsed(["--seconds", "40"])


def run(policy, per_s):
    world = simulated(COST, policy, per_s, 1, OPTIONS)
    return world, figures_of(world, OPTIONS.seconds)


def test_every_request_has_one_outcome_and_a_seed_gives_the_same_run():
    world, found = run(AS_SHIPPED, 30)
    times = poisson(steady(30, OPTIONS.seconds), OPTIONS.seed)
    assert sorted(one.at for one in world.sent) == times
    assert run(AS_SHIPPED, 30)[1] == found


def test_goodput_stays_flat_beyond_capacity_where_an_unbounded_queue_s_falls():
    at_20, at_80 = (run(AS_SHIPPED, per_s)[1].goodput_per_s for per_s in (20, 80))
    assert at_80 >= 0.9 * at_20
    assert run(POLICIES["unbounded"], 80)[1].goodput_per_s < 0.6 * at_80


def test_who_is_let_in_is_answered_in_time_and_the_others_are_held():
    _, found = run(AS_SHIPPED, 60)
    assert found.admitted_p99_ms <= OPTIONS.deadline * 1e3
    assert found.useful_share >= 0.999
    assert found.errors == 0


def test_the_ladder_changes_little_at_constant_load_and_without_hysteresis_more():
    world, _ = run(AS_SHIPPED, 18)
    hasty, _ = run(POLICIES["no hysteresis"], 18)
    assert changes(world) <= OPTIONS.seconds / 10
    assert changes(hasty) > changes(world)


def test_after_a_burst_the_best_level_comes_back():
    phases = burst(2, 60, 10, before_s=10, after_s=60)
    world = World(COST, AS_SHIPPED, OPTIONS.deadline)
    sent = world.run(Mix().asked(poisson(phases, 1), [], 1), 1, 80)
    lowest = max(world.levels_over_time, key=lambda one: one[0])
    assert Level.HOLDING in [level for _, level in world.levels_over_time]
    assert lowest[1] is Level.FULL
    assert lowest[0] <= 20 + 30
    late = [one for one in sent if one.at > 55]
    assert sum(one.level == "full" for one in late) >= 0.9 * len(late)


def test_a_user_who_sends_ten_times_his_share_costs_the_others_little():
    users = [f"user {number}" for number in range(10)]
    alone = World(COST, AS_SHIPPED, OPTIONS.deadline)
    times = poisson(steady(10, 40), 3)
    others = Mix().asked(times, users, 3)
    alone_share = sum(a for _, a in by_user(alone.run(others, 1, 40), 10).values()) / len(others)
    beside = World(COST, AS_SHIPPED, OPTIONS.deadline)
    greedy = Mix().asked(poisson(steady(10, 40), 4), ["greedy"], 4)
    found = by_user(beside.run(sorted([*others, *greedy], key=lambda one: one.at), 1, 40), 10)
    share = sum(found[user][1] for user in users) / len(others)
    assert share >= 0.95 * alone_share
    assert jain(found[user][1] / found[user][0] for user in users) >= 0.95


def scaled_up(policy):
    world = World(replace(COST, start_s=5.0), policy, OPTIONS.deadline)
    world.run(Mix().asked(poisson(burst(2, 30, 60, 20, 100), 5), [], 5), 1, 180)
    return world


def test_replicas_follow_a_step_of_load_settle_and_go_without_losing_a_request():
    world = scaled_up(replace(AS_SHIPPED, scaling=Scaling(), most_replicas=8, down_s=20.0))
    counts = [there for _, there in world.replicas_over_time]
    first_more = next(at for at, there in world.replicas_over_time if there > 1)
    assert first_more <= 20 + 20
    assert 4 <= max(counts) <= 6
    assert counts[-1] == 1
    rises = counts[: counts.index(max(counts)) + 1]
    assert rises == sorted(rises)
    assert all(one.level for one in world.sent)


@pytest.mark.parametrize("level", [Level.FULL, Level.FAST])
def test_a_plan_has_as_many_replicas_as_the_rate_needs(level):
    few = planned(COST, 10, level, OPTIONS)
    assert planned(COST, 40, level, OPTIONS) > few >= 1
