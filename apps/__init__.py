"""Commands: each parses its flags and calls one function of kdzoo. `python -m apps.NAME --help` describes it."""
