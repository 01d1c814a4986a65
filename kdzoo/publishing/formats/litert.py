"""LiteRT (once TensorFlow Lite), quantised by AI Edge Quantizer and run by ai-edge-litert."""

import pathlib

import numpy as np

from kdzoo.publishing.formats import litert_metadata
from kdzoo.publishing.formats.base import Format, Run, Source


class LiteRT(Format):
    """A .tflite file of LiteRT's own operations alone."""

    name = "litert"
    suffix = ".tflite"
    extra = "litert"
    packages = {
        "none": ("ai_edge_litert",),
        "float16": ("ai_edge_litert", "ai_edge_quantizer"),
        "int8": ("ai_edge_litert", "ai_edge_quantizer"),
    }

    def write(self, source: Source, path: pathlib.Path) -> None:
        import tensorflow as tf

        own = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}  # a phone has none of TensorFlow's
        source.model.export(path, format="litert", verbose=False, target_spec=own)

    def quantize(self, kind: str, source: Source, exact: pathlib.Path, path: pathlib.Path) -> None:
        from ai_edge_quantizer import quantizer, recipe

        engine = quantizer.Quantizer(str(exact))
        if kind == "float16":
            raise NotImplementedError
        engine.load_quantization_recipe(recipe.static_wi8_ai8())
        assert source.calibration is not None
        found = engine.calibrate([{"images": image[None]} for image in source.calibration])
        engine.quantize(found).export_model(str(path))

    def describe(self, source: Source, path: pathlib.Path) -> None:
        channels = source.record["dataset"]["image_shape"][2]
        path.write_bytes(litert_metadata.add(path.read_bytes(), source.class_names, channels=channels))

    def load(self, path: pathlib.Path, *, batch: int, threads: int) -> Run:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(taken["index"], [batch, *taken["shape"][1:]])
        interpreter.allocate_tensors()

        def run(images: np.ndarray) -> np.ndarray:
            interpreter.set_tensor(taken["index"], images)
            interpreter.invoke()
            logits: np.ndarray = interpreter.get_tensor(given["index"])
            return logits

        return run
