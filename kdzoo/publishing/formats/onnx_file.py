"""ONNX, converted by tf2onnx, quantised and run by ONNX Runtime."""

import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from kdzoo.publishing.formats.base import Format, Run, Source
from kdzoo.publishing.standalone import INPUT, OUTPUT

OPSET = 18


class OnnxFile(Format):
    """An .onnx file. Any number of pictures may be given at once."""

    name = "onnx"
    suffix = ".onnx"
    extra = "onnx"
    packages: ClassVar = dict.fromkeys(("none", "float16", "int8"), ("onnxruntime", "onnx", "tf2onnx"))

    def write(self, source: Source, path: pathlib.Path) -> None:
        import onnx

        source.model.export(path, format="onnx", verbose=False, opset_version=OPSET)
        model = onnx.load(path)
        _rename(model)
        onnx.checker.check_model(model)
        onnx.save(model, path)

    def quantize(self, kind: str, source: Source, exact: pathlib.Path, path: pathlib.Path) -> None:
        if kind == "float16":
            _halve(exact, path)
        else:
            assert source.calibration is not None
            _to_int8(exact, path, source.calibration)

    def describe(self, source: Source, path: pathlib.Path) -> None:
        import onnx

        model = onnx.load(path)
        model.producer_name = model.producer_version = ""
        onnx.helper.set_model_props(model, {"labels": "\n".join(source.class_names)})
        onnx.save(model, path)

    def load(self, path: pathlib.Path, *, batch: int, threads: int) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def run(images: np.ndarray) -> np.ndarray:
            logits: np.ndarray = session.run([OUTPUT], {INPUT: images})[0]
            return logits

        return run


def _rename(model: Any) -> None:
    """Gives input and output the names `images` and `logits`, and all else short ones."""
    graph = model.graph
    names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}

    def short(name: str) -> str:
        return names.setdefault(name, f"t{len(names)}") if name else ""

    for item in (*graph.input, *graph.output, *graph.initializer):
        item.name = short(item.name)
    for i, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{i}"
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
    del graph.value_info[:]
    graph.name = "pictures"


def _halve(exact: pathlib.Path, path: pathlib.Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(exact), keep_io_types=True), path)


def _to_int8(exact: pathlib.Path, path: pathlib.Path, calibration: np.ndarray) -> None:
    """Static quantisation: weights in int8 for each channel, activations in uint8 for each tensor."""
    from onnxruntime import quantization

    class Pictures(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._rest: Iterator[np.ndarray] = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._rest, None)
            return None if image is None else {INPUT: image[None]}

    prepared = path.with_name("prepared.onnx")
    quantization.shape_inference.quant_pre_process(str(exact), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(path),
        Pictures(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
