"""All formats by name."""

from kdzoo.publishing.formats.base import Format
from kdzoo.publishing.formats.keras_file import KerasFile
from kdzoo.publishing.formats.litert import LiteRT
from kdzoo.publishing.formats.onnx_file import OnnxFile
from kdzoo.publishing.formats.openvino_file import OpenVino
from kdzoo.publishing.formats.saved_model import SavedModel
from zoo import InputError

FORMATS: dict[str, Format] = {kind.name: kind for kind in (LiteRT(), OnnxFile(), SavedModel(), OpenVino(), KerasFile())}


def find(name: str) -> Format:
    """Returns the format of this name. Raises InputError if there is none."""
    if name not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, for example litert. Received: {name}")
    return FORMATS[name]
