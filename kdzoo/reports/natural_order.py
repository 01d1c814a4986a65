"""Sorting of names with numbers in them."""

import re


def natural_key(text: str) -> list[int | str]:
    """Returns a sort key that compares numbers as numbers: wrn16-2 before wrn16-11, 10-35 before 60-200."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", text))]
