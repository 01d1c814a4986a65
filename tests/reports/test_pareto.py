"""The Pareto front."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdzoo.reports.pareto import pareto_front


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(1, 1)], [0]),
        ([(1, 3), (2, 2), (3, 1)], [0, 1, 2]),
        ([(3, 1), (1, 3), (2, 2)], [1, 2, 0]),
        ([(1, 3), (2, 3), (3, 1)], [0, 2]),  # as bad at a higher cost
        ([(1, 3), (1, 2), (2, 2.5)], [1]),
        ([(1, 2), (1, 2), (2, 2)], [0, 1]),  # equal points beat each other no more than themselves
    ],
)
def test_fronts_worked_by_hand(points, front):
    assert pareto_front(points) == front


@given(st.lists(st.tuples(st.integers(0, 5) | st.floats(0, 5), st.integers(0, 5) | st.floats(0, 5)), max_size=30))
def test_the_front_is_what_no_point_beats(points):
    def beats(one, other):
        return one[0] <= other[0] and one[1] <= other[1] and one != other

    front = pareto_front(points)
    assert sorted(front) == [i for i, point in enumerate(points) if not any(beats(other, point) for other in points)]
    costs = [points[i][0] for i in front]
    assert costs == sorted(costs)
