"""Which points of a comparison no other point beats."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns the positions of the points that no other point beats, in the order of their first value.

    A point beats another if neither of its values is higher and one is lower. Of equal points all are in front.
    """
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if not front or points[i][1] < points[front[-1]][1] or points[i] == points[front[-1]]:
            front.append(i)
    return front
