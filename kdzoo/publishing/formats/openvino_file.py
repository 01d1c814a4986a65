"""OpenVINO IR, quantised by NNCF and run by OpenVINO."""

import pathlib
from typing import ClassVar

import numpy as np

from kdzoo.publishing.formats.base import Format, Run, Source
from kdzoo.publishing.standalone import OUTPUT


class OpenVino(Format):
    """An .xml file with the graph, and beside it a .bin file with the weights."""

    name = "openvino"
    suffix = ".xml"
    extra = "openvino"
    packages: ClassVar = {"none": ("openvino",), "float16": ("openvino",), "int8": ("openvino", "nncf")}

    def files(self, path: pathlib.Path) -> list[pathlib.Path]:
        return [path.with_suffix(".bin"), path]

    def write(self, source: Source, path: pathlib.Path) -> None:
        source.model.export(str(path), format="openvino", verbose=False)

    def quantize(self, kind: str, source: Source, exact: pathlib.Path, path: pathlib.Path) -> None:
        import openvino

        model = openvino.Core().read_model(exact)
        if kind == "int8":
            import nncf

            assert source.calibration is not None
            pictures = nncf.Dataset([image[None] for image in source.calibration])
            model = nncf.quantize(model, pictures, subset_size=len(source.calibration))
            # NNCF computes blocks of squeeze and excitation in floats: their weights are stored in int8 all the same.
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        openvino.save_model(model, path, compress_to_fp16=kind == "float16")

    def describe(self, source: Source, path: pathlib.Path) -> None:
        import openvino

        model = openvino.Core().read_model(path)
        # As OpenVINO's Model API reads them: separated by spaces.
        labels = " ".join(name.replace(" ", "_") for name in source.class_names)
        for key, value in (("model_type", "Classification"), ("labels", labels)):
            model.set_rt_info(value, ["model_info", key])
        model.outputs[0].tensor.set_names({OUTPUT})
        described = path.with_name("described.xml")
        openvino.serialize(model, described)
        for old, new in zip(self.files(path), self.files(described), strict=True):
            new.replace(old)

    def load(self, path: pathlib.Path, *, batch: int, threads: int) -> Run:
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        model.reshape([batch, *[size.get_length() for size in list(model.inputs[0].partial_shape)[1:]]])
        # Where a processor has bfloat16, OpenVINO would compute in it.
        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(model, "CPU", settings)

        def run(images: np.ndarray) -> np.ndarray:
            logits: np.ndarray = compiled([images])[compiled.outputs[0]].copy()
            return logits

        return run
