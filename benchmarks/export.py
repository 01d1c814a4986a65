"""Exports networks in each format and quantisation: bytes, error, agreement with the network, latency; or the refusal.

  TFDS_DATA_DIR=... python benchmarks/export.py --out=benchmarks/export.json wrn16-1_10-35 runs/mobilenet
  python benchmarks/export.py --show=benchmarks/export.json     # the table again

Each file is run over the whole test set in its format's own runtime, and one picture at a time on one thread. Latencies
are those of a machine that does nothing else.
"""

import argparse
import json
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

COLUMNS = ("network", "format", "weights", "bytes", "share", "error (%)", "agreement (%)", "logits ±", "ms", "p95")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="runs and published models")
    parser.add_argument("--formats", default="litert,onnx,openvino,saved_model,keras")
    parser.add_argument("--examples", type=int, default=None, help="test images; default: all")
    parser.add_argument("--out", default="")
    parser.add_argument("--show", default="")
    args = parser.parse_args()
    if args.show:
        return show(json.loads(pathlib.Path(args.show).read_text()))
    result = {"models": {model: measure(model, args.formats.split(","), args.examples) for model in args.models}}
    show(result)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


def measure(model: str, formats: list[str], examples: int | None) -> list[dict]:
    """The record of each file, without what all have; where none was left, the message."""
    from kdzoo.publishing import Export, export_model
    from kdzoo.publishing.formats import registry
    from zoo import InputError

    rows = []
    for name in formats:
        for quantize in registry.FORMATS[name].packages:
            with tempfile.TemporaryDirectory() as folder:
                out = f"{folder}/model{registry.FORMATS[name].suffix}"
                try:
                    row = export_model(Export(model, name, quantize, out=out, examples=examples))
                except InputError as error:
                    row = {"format": name, "quantize": quantize, "refused": str(error)}
            rows.append({key: value for key, value in row.items() if key not in ("class_names", "input", "output")})
            print(model, name, quantize, rows[-1].get("refused", rows[-1].get("test_error")), flush=True)
    return rows


def show(result: dict) -> None:
    """Prints a row for each file."""
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * 3}{' ---: |' * 7}")
    for model, rows in result["models"].items():
        for row in rows:
            print(f"| {model} | {row['format']} | {row['quantize'].replace('none', 'float32')} | {figures(row)} |")


def figures(row: dict) -> str:
    if "refused" in row:
        return f"refused: {row['refused'].partition('Received: ')[2]} {'| ' * 6}".rstrip()[:-1].rstrip()
    latency = row["latency"]
    return " | ".join(
        [
            f"{row['bytes']:,}",
            f"{row['bytes'] / row['float32_bytes']:.2f}",
            f"{row['test_error']:.2f}",
            f"{row['agreement']:.2f}",
            f"{row['largest_logit_difference']:.1g}",
            f"{latency['median_ms']:.2f}",
            f"{latency['p95_ms']:.2f}",
        ]
    )


if __name__ == "__main__":
    main()
