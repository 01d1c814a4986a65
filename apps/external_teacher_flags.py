"""Defines the flags of teachers that are external models: SavedModels, ONNX models and servers."""

from absl import flags

from kdzoo.runs.config import TEACHER_INPUTS, TEACHER_LAYOUTS, RunConfig

flags.disclaim_key_flags()  # the flags are those of the modules that call this function


def define_external_teacher_flags() -> None:
    """Defines the input and the outputs of external models, and how their images are scaled."""
    flags.DEFINE_string(
        "teacher_signature",
        RunConfig.teacher_signature,
        "Signature of a SavedModel or gRPC teacher. Empty: serving_default, and features for attention transfer.",
    )
    flags.DEFINE_string(
        "teacher_logits",
        RunConfig.teacher_logits,
        "Name of the output that holds logits, for a SavedModel, ONNX or gRPC teacher. Empty: the only output, or the"
        " one named logits.",
    )
    flags.DEFINE_enum(
        "teacher_input",
        RunConfig.teacher_input,
        TEACHER_INPUTS,
        "Pixel values that a SavedModel, ONNX or gRPC teacher expects: raw (0 to 255), unit (0 to 1), imagenet"
        " (standardised by ImageNet's mean and standard deviation, as for torchvision's models) or standardised as for"
        " the student, unless --teacher_mean and --teacher_std are set. auto is raw for an input of integers;"
        " an input of floating-point numbers needs one of the others.",
    )
    flags.DEFINE_string(
        "teacher_mean",
        RunConfig.teacher_mean,
        "With --teacher_input=standardised: mean per channel of the images that a SavedModel, ONNX or gRPC teacher"
        " expects, of pixels from 0 to 1. Example: 0.5,0.5,0.5. Empty: that of the student's images.",
    )
    flags.DEFINE_string(
        "teacher_std",
        RunConfig.teacher_std,
        "With --teacher_mean: standard deviation per channel. Example: 0.5,0.5,0.5.",
    )
    flags.DEFINE_enum(
        "teacher_layout",
        RunConfig.teacher_layout,
        TEACHER_LAYOUTS,
        "Order of the dimensions of an ONNX teacher's images: nchw as in PyTorch, or nhwc. auto finds the 1 or 3"
        " channels in the shape of its input.",
    )
