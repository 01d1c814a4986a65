"""Teachers onnx:FILE: ONNX models, run by onnxruntime on the processor. Needs neither TensorFlow nor PyTorch."""

import pathlib
from typing import Any

import numpy as np

from kdzoo.data.dataset import Dataset
from kdzoo.runs import machine
from kdzoo.runs.config import RunConfig
from kdzoo.teachers import image_layout
from kdzoo.teachers.cached_teacher import CALL_IMAGES
from kdzoo.teachers.external import ExternalTeacher
from kdzoo.teachers.onnx_files import ModelFiles, import_extra, not_loaded
from kdzoo.teachers.signature import Signature, choose_outputs, stages_of
from zoo import InputError

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}


class OnnxModel:
    """An ONNX model from images [n, h, w, c] to outputs, stages in [n, h, w, channels].

    Args:
        spec: onnx:FILE, as in the run's configuration.
        config: the run's.

    Attributes:
        path: of the model's file.
        digest: of its files, see `ModelFiles`.
        layout: of its images, nchw or nhwc.
        signature: its input, with the channels last, and the outputs that the configuration needs.
        version: of onnxruntime.

    Raises:
        InputError: if it cannot be loaded, or its input or outputs do not fit.
    """

    def __init__(self, spec: str, config: RunConfig):
        self._files = ModelFiles(spec)
        self.path: pathlib.Path = self._files.path
        self.digest = self._files.digest
        runtime = import_extra("onnxruntime", spec)
        self.version: str = runtime.__version__
        try:
            self._session = runtime.InferenceSession(self.path, _options(runtime), ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class
            raise not_loaded(spec, error) from None
        self._files.check_unchanged()
        self._spec = spec
        batch, shape, dtype = self._read_input()
        # On processors with AVX-512 the outputs for an image were found to depend neither on the number of images in
        # a call nor on that of threads. Where they do, calls of one size keep them the same, see `cached_teacher`.
        self._call_images = batch or CALL_IMAGES
        self.layout = image_layout.find_layout(shape, config.teacher_layout, spec)
        channels_last = (*shape[1:], shape[0]) if self.layout == "nchw" else shape
        outputs = {output.name: _inner(output.shape) for output in self._session.get_outputs()}
        self.signature = choose_outputs(Signature("graph", self._input, dtype, channels_last, outputs), config, spec)
        self._stages = stages_of(self.signature, config, spec)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name, for images of the signature's dtype [n, h, w, c].

        Raises:
            InputError: if the model does not take such images, or its files have changed.
        """
        self._files.check_unchanged()
        size = self._call_images
        parts = [self._run(images[first : first + size]) for first in range(0, len(images), size)]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in self.signature.outputs}
        for name in self._stages:
            of_model = f"{name} of {self._spec}"
            outputs[name] = image_layout.stage_from_model(outputs[name], images.shape[1:3], self.layout, of_model)
        return outputs

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs for at most a call's images. A call for fewer repeats some of them."""
        names, needed = list(self.signature.outputs), len(images)
        if needed < self._call_images:
            images = np.resize(images, (self._call_images, *images.shape[1:]))
        try:
            outputs = self._session.run(names, {self._input: image_layout.to_model(images, self.layout)})
        except Exception as error:
            raise not_loaded(f"{self._spec} on {images.dtype} images {list(images.shape)}", error) from None
        for name, output in zip(names, outputs, strict=True):
            shape = output.shape if isinstance(output, np.ndarray) else ()
            if shape[:1] != (self._call_images,):
                raise InputError(
                    "An ONNX teacher's outputs must have a row for each image."
                    f" Received: {shape} for {self._call_images}, {name} of {self._spec}"
                )
        return {name: output[:needed] for name, output in zip(names, outputs, strict=True)}

    def _read_input(self) -> tuple[int | None, tuple[int | None, ...], str]:
        """The number of images in a call, None for any; the shape of an image in the model's layout; its dtype."""
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape or ()) != 4 or inputs[0].type not in _DTYPES:
            described = [f"{one.name} {one.type} {image_layout.describe_shape(one.shape or ())}" for one in inputs]
            raise InputError(
                "An ONNX teacher must have one input of images, float32, float16 or uint8, of shape"
                " [n, channels, height, width] or [n, height, width, channels]."
                f" Received: {', '.join(described) or 'none'} of {self._spec}"
            )
        (image,) = inputs
        self._input: str = image.name
        batch, *shape = (size if isinstance(size, int) else None for size in image.shape)
        return batch, tuple(shape), _DTYPES[image.type]


class OnnxTeacher(ExternalTeacher):
    """An ONNX model as a teacher: see `OnnxModel` and `ExternalTeacher`."""

    def __init__(self, spec: str, config: RunConfig):
        self._model = model = OnnxModel(spec, config)
        super().__init__(spec, model.path.stem, model.digest, model.signature, model, config)
        # Where the student computes on the processor too, a call ahead would only slow its steps down.
        self.max_calls_ahead = int(bool(machine.hardware()["accelerators"]))

    def key(self, dataset: Dataset) -> dict[str, Any]:
        return super().key(dataset) | {"layout": self._model.layout, "onnxruntime": self._model.version}


def _options(runtime: Any) -> Any:
    """onnxruntime's options: deterministic, on the cores that this process may use, silent but for its exceptions."""
    options = runtime.SessionOptions()
    options.use_deterministic_compute = True
    options.intra_op_num_threads = machine.hardware()["cores"]  # its own default is all cores of the machine
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the student needs the cores in between
    options.log_severity_level = 4
    return options


def _inner(shape: Any) -> tuple[int | None, ...] | None:
    """An output's shape without the batch dimension; None if its rank is unknown."""
    return tuple(size if isinstance(size, int) else None for size in shape[1:]) if shape else None
