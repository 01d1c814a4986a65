"""The version of kdzoo."""

__version__ = "0.4.0"
