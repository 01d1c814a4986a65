"""LiteRT (once TensorFlow Lite), quantised by AI Edge Quantizer and run by ai-edge-litert."""

import pathlib
from typing import Any, ClassVar

import numpy as np

from kdzoo.publishing.formats import litert_metadata
from kdzoo.publishing.formats.base import Format, Run, Source
from kdzoo.publishing.standalone import INPUT

_SIGNATURE = "serving_default"


class LiteRT(Format):
    """A .tflite file of LiteRT's own operations alone."""

    name = "litert"
    suffix = ".tflite"
    extra = "litert"
    packages: ClassVar = {
        "none": ("ai_edge_litert",),
        "float16": ("ai_edge_litert", "ai_edge_quantizer"),
        "int8": ("ai_edge_litert", "ai_edge_quantizer"),
    }

    def write(self, source: Source, path: pathlib.Path) -> None:
        import tensorflow as tf

        own = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}  # a phone has none of TensorFlow's
        source.model.export(path, format="litert", verbose=False, target_spec=own)

    def quantize(self, kind: str, source: Source, exact: pathlib.Path, path: pathlib.Path) -> None:
        from ai_edge_quantizer import quantizer

        manager = _float16() if kind == "float16" else _int8()
        engine = quantizer.Quantizer(str(exact), manager.get_quantization_recipe())
        ranges = None if source.calibration is None else _calibrate(manager, exact, source.calibration)
        path.write_bytes(engine.quantize(ranges).quantized_model)

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


def _float16() -> Any:
    from ai_edge_quantizer import qtyping, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    every, casting = qtyping.TFLOperationName.ALL_SUPPORTED, recipe.AlgorithmName.FLOAT_CASTING
    manager.add_weight_only_config(regex=".*", operation_name=every, num_bits=16, algorithm_key=casting)
    return manager


def _int8() -> Any:
    """All operations in integers. What is given and returned stays in uint8 and float32."""
    from ai_edge_quantizer import qtyping, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    for name in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        manager.add_quantization_config(".*", name, algorithm_key=recipe.AlgorithmName.NO_QUANTIZE)
    return manager


def _calibrate(manager: Any, exact: pathlib.Path, pictures: np.ndarray) -> Any:
    """The range of each tensor over all pictures. The quantizer's own default, a moving average, cuts off rare values:
    logits of a WRN16-1 were seven times as far from those in float32."""
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    ranges = calibrator.Calibrator(str(exact), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    ranges.calibrate({_SIGNATURE: [{INPUT: picture[None]} for picture in pictures]}, manager)
    return ranges.get_model_qsvs()
