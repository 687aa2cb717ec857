"""Who gets rows and who collapses."""

from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.model.rows.scheduler import Plan, Running, Waiting, plan

PLENTY = 10_000


def beams(*ids, generated=0):
    return [Running(number, 4, generated) for number in ids]


def waiting(*widths, tokens=100):
    return [Waiting(100 + number, width, tokens) for number, width in enumerate(widths)]


def test_a_request_gets_the_rows_it_asks_for():
    assert plan(16, waiting(4, 1), [], PLENTY).admit == ((100, 4), (101, 1))


def test_beams_are_narrowed_when_others_wait_for_the_rows():
    assert plan(5, waiting(4, 4), [], PLENTY).admit == ((100, 4), (101, 1))
    assert plan(4, waiting(4, 4), [], PLENTY).admit == ((100, 3), (101, 1))
    assert plan(2, waiting(4, 4), [], PLENTY).admit == ((100, 1), (101, 1))


def test_a_search_gets_the_rows_that_are_free_though_they_are_fewer_than_it_asks_for():
    assert plan(3, waiting(4), [], PLENTY).admit == ((100, 3),)
    assert plan(8, waiting(4, 4, 4), [], PLENTY).admit == ((100, 4), (101, 3), (102, 1))


def test_beside_a_search_that_collapsed_for_it_a_newcomer_gets_the_rows_that_came_free():
    assert plan(0, waiting(4), beams(1), PLENTY).admit == ((100, 3),)


def test_a_search_whose_prompt_is_still_taken_in_gives_its_rows_up_after_those_that_search():
    taken_in, searching = Running(1, 4, 0), Running(2, 4, 1)
    assert plan(0, waiting(1), [taken_in, searching], PLENTY).collapse == (2,)
    assert plan(0, waiting(1), [taken_in], PLENTY).collapse == (1,)


def test_nobody_waits_while_somebody_holds_spare_beams():
    decided = plan(0, waiting(1), beams(1, 2), PLENTY)
    assert len(decided.collapse) == 1
    assert decided.admit == ((100, 1),)


def test_the_beams_searched_longest_collapse_first():
    running = [Running(1, 4, 5), Running(2, 4, 50), Running(3, 4, 20)]
    assert plan(0, waiting(1, 1, 1, 1), running, PLENTY).collapse == (2, 3)


def test_only_as_many_collapse_as_are_needed():
    assert plan(0, waiting(1, 1, 1), beams(1, 2), PLENTY).collapse == (1,)
    assert plan(2, waiting(1), beams(1, 2), PLENTY).collapse == ()


def test_a_narrow_search_collapses_before_whole_ones_and_for_whoever_can_be_whole():
    narrow, whole = Running(1, 3, 5, narrow=True), Running(2, 4, 50)
    assert plan(0, waiting(1), [narrow, whole], PLENTY).collapse == (1,)
    assert plan(2, waiting(4), [narrow, whole], PLENTY) == Plan((1,), ((100, 4),))
    assert plan(1, waiting(4), [narrow, whole], PLENTY) == Plan((), ((100, 1),))  # three are not enough
    assert plan(1, waiting(4, 1), [narrow, whole], PLENTY) == Plan((1,), ((100, 2), (101, 1)))


def test_a_greedy_request_among_greedy_ones_waits():
    assert plan(0, waiting(1), [Running(1, 1, 3)], PLENTY) == plan(0, [], [], PLENTY)


def test_a_higher_priority_goes_first_and_equals_keep_their_order():
    queue = [Waiting(1, 1, 10), Waiting(2, 1, 10, priority=5), Waiting(3, 1, 10), Waiting(4, 1, 10, priority=5)]
    assert [number for number, _ in plan(16, queue, [], PLENTY).admit] == [2, 4, 1, 3]


def test_prefill_work_of_a_step_is_bounded_but_one_prompt_is_always_taken():
    assert len(plan(16, waiting(1, 1, 1, tokens=400), [], 1000).admit) == 2
    assert len(plan(16, waiting(1, 1, tokens=4000), [], 1000).admit) == 1


def test_what_may_not_collapse_does_not():
    held = [Running(1, 4, 9, collapsible=False)]
    assert plan(0, waiting(1), held, PLENTY) == plan(0, [], [], PLENTY)
    assert plan(2, [Waiting(1, 4, 10, collapsible=False)], held, PLENTY).admit == ()


@settings(max_examples=500)
@given(
    free=st.integers(0, 16),
    queue=st.lists(st.tuples(st.sampled_from((1, 2, 4)), st.integers(1, 900), st.integers(0, 2)), max_size=30),
    held=st.lists(st.tuples(st.sampled_from((1, 2, 4)), st.integers(0, 99)), max_size=16),
    budget=st.integers(1, 3000),
)
def test_whatever_comes_rows_are_never_overdrawn_and_none_is_idle_while_somebody_waits(free, queue, held, budget):
    asked = [Waiting(number, width, tokens, priority) for number, (width, tokens, priority) in enumerate(queue)]
    running = [Running(1000 + number, width, generated) for number, (width, generated) in enumerate(held)]
    decided = plan(free, asked, running, budget)
    width_of = {request.id: request.width for request in (*asked, *running)}
    freed = sum(width_of[number] - 1 for number in decided.collapse)
    taken = sum(width for _, width in decided.admit)
    assert taken <= free + freed
    assert all(1 <= width <= width_of[number] for number, width in decided.admit)
    assert len(set(decided.collapse)) == len(decided.collapse)
    left = [request for request in asked if request.id not in dict(decided.admit)]
    if any(width < width_of[number] for number, width in decided.admit):
        assert free + freed - taken <= len(left)  # one for each that still waits, and none idle
    if left:
        order = sorted(asked, key=lambda request: -request.priority)
        assert [number for number, _ in decided.admit] == [request.id for request in order[: len(decided.admit)]]
        rows_left = free + freed - taken
        spent = sum(request.tokens for request in asked if request.id in dict(decided.admit))
        spare = [r for r in running if r.width > 1 and r.id not in decided.collapse]
        assert (rows_left == 0 and not spare) or spent + order[len(decided.admit)].tokens > budget
