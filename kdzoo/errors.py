"""Public name of `zoo.InputError`."""

from zoo import InputError as InputError
