"""Makes what the next training step needs while a step runs."""

import concurrent.futures
from collections.abc import Callable
from typing import Any


class Prefetcher:
    """Makes items in order, in a thread, one ahead of the item in use.

    Args:
        make: makes the item of a key; called in the thread.
        following: returns the key after a key.
    """

    def __init__(self, make: Callable[[Any], Any], following: Callable[[Any], Any]):
        self._make, self._following = make, following
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: dict[Any, concurrent.futures.Future[Any]] = {}

    def __call__(self, key: Any) -> Any:
        """The item of this key."""
        wanted = (key, self._following(key))
        self._pending = {k: self._pending.get(k) or self._pool.submit(self._make, k) for k in wanted}
        return self._pending.pop(key).result()
