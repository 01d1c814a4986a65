"""Public name `kdzoo.errors.InputError`."""

from zoo import InputError as InputError
