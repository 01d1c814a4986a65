"""Metadata of a .tflite file: its class names, as apps on a phone look for them.

They are a text file in a zip archive behind the model's flatbuffer, named by a buffer TFLITE_METADATA in it. The tables
of that buffer are those of `metadata_schema.fbs` in tflite-support, whose Python package is no longer built.
"""

import io
import zipfile
from collections.abc import Sequence

import numpy as np

LABELS = "labels.txt"
_BUFFER = "TFLITE_METADATA"
_TENSOR_AXIS_LABELS, _IMAGE = 2, 2
_COLOURS = {3: 1, 1: 2}  # channels -> RGB, grey
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can hold


def add(content: bytes, class_names: Sequence[str], *, channels: int) -> bytes:
    """Returns a model's file with the class names of its output.

    Args:
        content: of a .tflite file, without metadata.
        class_names: in the order of the logits.
        channels: of its pictures.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    for item in model.buffers:
        if item.offset > 1:  # the quantizer has the values of large networks behind the flatbuffer
            item.data = np.frombuffer(content, np.uint8, item.size, item.offset)
            item.offset = item.size = 0
    for graph in model.subgraphs:
        for i, tensor in enumerate(graph.tensors):
            tensor.name = f"t{i}"  # a fiftieth of a network in int8 would be names; pictures and logits have theirs
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(_metadata(channels), np.uint8)
    entry.name, entry.buffer = _BUFFER, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    file = io.BytesIO()
    file.write(builder.Output())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS, _DATE), "".join(f"{name}\n" for name in class_names))
    return file.getvalue()


def _metadata(channels: int) -> bytes:
    """The buffer: the input is an image, the output's axis has labels. Numbers are the fields' places in the schema."""
    import flatbuffers

    builder = flatbuffers.Builder(512)

    def text(value: str) -> int:
        return int(builder.CreateString(value))

    def make(offsets: dict[int, int], octets: dict[int, int] | None = None) -> int:
        """Writes a table of references and of numbers of one byte, by their places."""
        builder.StartObject(1 + max([*offsets, *(octets or {})], default=0))
        for place, offset in offsets.items():
            builder.PrependUOffsetTRelativeSlot(place, offset, 0)
        for place, octet in (octets or {}).items():
            builder.PrependInt8Slot(place, octet, 0)
        return int(builder.EndObject())

    def vector(offset: int) -> int:
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    labels = make({0: text(LABELS)}, {2: _TENSOR_AXIS_LABELS})
    content = make({1: make({}, {0: _COLOURS.get(channels, 0)})}, {0: _IMAGE})
    image = make({0: text("images"), 3: content})
    logits = make({0: text("logits"), 6: vector(labels)})
    subgraph = make({2: vector(image), 3: vector(logits)})
    root = make({0: text("pictures"), 3: vector(subgraph), 7: text("1.0.0")})
    builder.Finish(root, b"M001")
    return bytes(builder.Output())
