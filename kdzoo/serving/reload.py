"""Hot reload: a server serves the newest version of each model that loads."""

import gc
import logging
import threading
from collections.abc import Callable

from kdzoo.serving.models import ServedModel, load_version
from kdzoo.serving.server import Server
from kdzoo.serving.versions import Contents, find_versions, list_contents
from zoo import InputError

_log = logging.getLogger(__name__)


class Reloader:
    """Looks for new versions of a server's models, in a thread of its own, and loads them while the others serve.

    A folder counts once its files are the same at two looks, so that one that is being copied is not loaded. A version
    that does not load is left out, with one warning, until its files change. If the folder of the newest version
    disappears, the newest of the others is served.

    Args:
        server: the running server.
        seconds: between two looks.
        report: is called with the name of each model that was replaced, and its version.
    """

    def __init__(self, server: Server, seconds: float, report: Callable[[str, int], None]):
        self._server, self._report = server, report
        self._seen: dict[tuple[str, int], Contents] = {}
        self._damaged: dict[tuple[str, int], Contents] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(seconds,), name="reload")
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the model that it loads, if any."""
        self._ended.set()
        self._thread.join()

    def _run(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            for model in list(self._server.models.values()):
                self._look(model)

    def _look(self, model: ServedModel) -> None:
        for version in find_versions(model.directory):
            if version == model.version:
                return
            key, contents = (model.name, version), list_contents(model.directory / str(version))
            before, self._seen[key] = self._seen.get(key), contents
            if contents != before:
                return  # it is being copied, or this is the first look
            if contents != self._damaged.get(key) and self._replace(model, version, contents):
                return

    def _replace(self, model: ServedModel, version: int, contents: Contents) -> bool:
        """Loads a version and serves it. Returns False if it does not load."""
        try:
            loaded = load_version(dict(model.card), model.directory, version, model.batching)
        except InputError as error:
            _log.warning("%s", error)
            self._damaged[model.name, version] = contents
            return False
        self._server.replace(loaded)
        self._report(loaded.name, loaded.version)
        del model, loaded
        gc.collect()  # the old version's graph holds references in a circle
        return True
