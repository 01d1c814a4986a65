"""Exports a trained network as a file for another runtime, once the file has the network's test error.

  python -m apps.export --model=wrn16-1_10-35 --format=litert --quantize=int8 --out=phone.tflite
  python -m apps.export --model=runs/student --format=onnx

The file takes uint8 pictures of the model's size and returns logits; standardisation is inside. It is run over the
whole test set in the format's own runtime. Prints one line: bytes, test error, agreement with the network in Keras,
the largest difference of logits, and the latency. FILE.labels.txt has the class names, FILE.json the figures.
"""

from absl import flags

from apps import command, flag_values
from kdzoo.publishing import exporter
from kdzoo.publishing.formats import base, registry
from kdzoo.runs import machine

flag_values.define_trained_model()
flags.DEFINE_enum(
    "format",
    None,
    list(registry.FORMATS),
    "Format of the file. litert and openvino need the extras of these names, onnx needs onnx. Required.",
    required=True,
)
flags.DEFINE_enum(
    "quantize",
    "none",
    base.QUANTIZE,
    "Type of the stored weights: none (float32); float16; or int8, which computes in integers, calibrated on training"
    " images. Not every format has each.",
)
flags.DEFINE_string(
    "out",
    "",
    "File to write, with a name in .tflite, .onnx, .xml or .keras; for saved_model a directory. Example: phone.tflite."
    " Default: the model's name, in the current directory.",
)
flag_values.define_number(
    "tolerance",
    exporter.TOLERANCE.example,
    "Points by which the file's test error, in percent, may differ from the network's. Beyond it no file is left.",
    exporter.TOLERANCE,
)
flag_values.define_number(
    "max_share",
    exporter.SHARE.example,
    "Share of the bytes in float32 that a file in int8 may have. Beyond it no file is left.",
    exporter.SHARE,
)
flags.DEFINE_string(
    "dataset",
    None,
    "Data set of the model, if it has moved. Example: npz:data/images.npz. Default: the data set that it was trained"
    " on.",
)
flags.DEFINE_integer(
    "examples",
    None,
    "Number of test images to run the file on, the first of the test set. Default: the whole test set.",
)
flag_values.define_number(
    "calibration_examples",
    exporter.CALIBRATION.example,
    "Number of training images that calibrate int8.",
    exporter.CALIBRATION,
)


def main() -> None:
    args = flags.FLAGS
    machine.check_backend()
    record = exporter.export_model(
        exporter.Export(
            model=args.model,
            format=args.format,
            quantize=args.quantize,
            out=args.out,
            tolerance=args.tolerance,
            max_share=args.max_share,
            dataset=args.dataset,
            examples=args.examples,
            calibration_examples=args.calibration_examples,
        )
    )
    quantized = "" if args.quantize == "none" else f" in {args.quantize}"
    share = f" ({record['bytes'] / record['float32_bytes']:.2f} of float32's)" if quantized else ""
    latency = record["latency"]
    print(
        f"{record['name']} as {args.format}{quantized}: {record['bytes']:,} bytes{share}, test error"
        f" {record['test_error']:.2f} % of {record['test_examples']:,} images (network"
        f" {record['test_error_network']:.2f} %), agreement {record['agreement']:.2f} %, largest logit difference"
        f" {record['largest_logit_difference']:.2g}, latency {latency['median_ms']:.2f} ms (p95"
        f" {latency['p95_ms']:.2f} ms) for one picture on one thread of {record['hardware']['processor']}:"
        f" {record['file']}"
    )


if __name__ == "__main__":
    command.run(main)
