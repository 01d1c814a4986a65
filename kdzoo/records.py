"""Public name of `kdzoo.runs.records`."""

from kdzoo.runs.records import *  # noqa: F403
