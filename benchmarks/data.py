"""Times the way from JPEGs in a folder to batches of 256 uint8 images of 224x224 for a network that takes no time.

  python benchmarks/data.py --out=benchmarks/data.json --torch_python=... --grain_python=...
  python benchmarks/data.py --show=benchmarks/data.json     # the table again

All ways read the same 500x375 JPEGs, draw inception crops and flips, and resize by a bilinear, antialiased filter, on
one core and on two: the processor affinity binds each way with all its threads and processes. A round times the ways in
turn, each in processes started anew, between two batches in the middle of an epoch. Ratios are of one round each.
`--torch_python` is a Python that has torchvision, `--grain_python` one that has Grain; without them these ways are left
out.

Ours is `kdzoo.data.Batches`, with as many workers as by default (two on two cores, none on one), and the look-up of
256 rows of 1,000 teacher logits for each batch. The limits are decoding and resizing alone, of contents and boxes in
memory, a process a core: with
kdzoo's resize, and with Pillow's. Grain runs kdzoo's own function from a picture to a view.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NAMES = {
    "ours": "ours",
    "ours_1": "ours, one worker",
    "grain": "our views through Grain",
    "tf": "tf.data",
    "torch_pil": "torchvision, PIL images",
    "torch_tensor": "torchvision, tensors",
    "limit": "limit: simplejpeg, resized as ours",
    "limit_pillow": "limit: simplejpeg, resized by Pillow",
}
PEERS = ("tf", "torch_pil", "torch_tensor")
BATCH, SIZE, CLASSES, VIEWS = 256, 224, 1000, 8
PICTURES, NAMES_OF_EACH = 2048, 4
WARM = 4  # batches before the clock starts; even, since two workers of torchvision and Grain deliver theirs in pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", default=",".join(NAMES))
    parser.add_argument("--cores", default="1,2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=20, help="timed, of each way in a round; even, at most 24")
    parser.add_argument("--folder", default="", help="keeps the pictures")
    parser.add_argument("--load", type=float, default=1.0, help="load average below which a round may begin")
    parser.add_argument("--patience", type=float, default=180.0, help="seconds that a round waits for it")
    parser.add_argument("--torch_python", default="")
    parser.add_argument("--grain_python", default="")
    parser.add_argument("--out", default="")
    parser.add_argument("--show", default="")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args)
    if args.show:
        return show(json.loads(pathlib.Path(args.show).read_text()))
    with tempfile.TemporaryDirectory() as folder:
        result = compare(args, pathlib.Path(args.folder or folder))
    show(result)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


def compare(args, folder: pathlib.Path) -> dict:
    """Images/s of each way in each round, by the number of cores."""
    pictures = folder / "pictures"
    if not pictures.exists():
        write_pictures(pictures)
    sizes = [path.stat().st_size for path in pictures.rglob("*.jpg")]
    result = {"pictures": len(sizes), "mean_bytes": statistics.mean(sizes), "load_average": []}
    rates = {cores: {way: [] for way in args.ways.split(",")} for cores in args.cores.split(",")}
    versions: dict = {}
    for number in range(args.rounds):
        began = time.monotonic()
        while os.getloadavg()[0] > args.load and time.monotonic() - began < args.patience:
            time.sleep(5)
        result["load_average"].append(os.getloadavg()[0])
        for cores, of_way in rates.items():
            for way in of_way:
                found = timed(args, way, int(cores), folder)
                of_way[way].append(found["rate"])
                versions |= found["versions"]
            print(f"round {number + 1}, cores {cores}:", {way: round(r[-1]) for way, r in of_way.items()}, flush=True)
    from kdzoo.runs import machine

    result |= {"images_per_second": rates, "hardware": machine.hardware(), "versions": machine.versions() | versions}
    return result


def timed(args, way: str, cores: int, folder: pathlib.Path) -> dict:
    """The rate of one way, in processes of its own on so many cores."""
    python = {"torch": args.torch_python, "grain": args.grain_python}.get(way.partition("_")[0], sys.executable)
    command = [python, __file__, f"--worker={way}", f"--cores={cores}", f"--folder={folder}"]
    command += [f"--batches={args.batches}"]
    root = str(pathlib.Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root, "KDZOO_CACHE": str(folder / "cache"), "KERAS_BACKEND": "jax"}
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    done = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=functools.partial(os.sched_setaffinity, 0, chosen),
    )
    return json.loads(done.stdout.splitlines()[-1])


def write_pictures(folder: pathlib.Path) -> None:
    """Writes JPEGs of 500x375, each under several names: parts of two photographs, with noise as of a sensor.

    The photographs are those in scikit-learn. A file has 100,000 bytes, about as many as one of ImageNet.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        photograph = photographs[number % len(photographs)]
        height = photograph.height * rng.uniform(0.7, 1)
        width = height * 4 / 3
        left, top = rng.uniform(0, photograph.width - width), rng.uniform(0, photograph.height - height)
        box = (left, top, left + width, top + height)
        part = np.asarray(photograph.resize((500, 375), Image.Resampling.LANCZOS, box=box), np.float32)
        noisy = part + rng.normal(0, 4, (375, 500, 1))
        path = folder / f"{number % 2}" / f"{number:04}_0.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=95)
        for name in range(1, NAMES_OF_EACH):
            os.link(path, path.with_name(f"{number:04}_{name}.jpg"))


# In the processes. Each way yields batches, or anything after each batch.


def work(args) -> None:
    folder, cores = pathlib.Path(args.folder), int(args.cores)
    if args.worker.startswith("limit"):
        rate, versions = limit(args.worker, folder, cores, args.batches)
        return print(json.dumps({"rate": rate, "versions": versions}))
    ways = {
        "ours": functools.partial(ours, workers=-1),
        "ours_1": functools.partial(ours, workers=1),
        "grain": grain_batches,
        "tf": tf_batches,
        "torch_pil": functools.partial(torch_batches, tensors=False),
        "torch_tensor": functools.partial(torch_batches, tensors=True),
    }
    with contextlib.closing(ways[args.worker](folder, cores)) as batches:
        versions = next(batches)
        for _ in range(WARM):
            next(batches)
        began = time.perf_counter()
        for _ in range(args.batches):
            next(batches)
        seconds = time.perf_counter() - began
    print(json.dumps({"rate": args.batches * BATCH / seconds, "versions": versions}))


def load(folder: pathlib.Path, workers: int):
    from kdzoo import data
    from kdzoo.data.config import DataConfig

    # The test set is small: all pictures but a few are in one epoch.
    config = DataConfig(f"folder:{folder / 'pictures'}", test_share=0.01, image_size=SIZE, views=VIEWS)
    return data.load(config, workers=workers)


def ours(folder: pathlib.Path, cores: int, *, workers: int):
    import numpy as np

    from kdzoo.data.batches import Batches
    from kdzoo.teachers import output_cache

    with contextlib.closing(load(folder, workers)) as dataset:
        key, count = {"fingerprint": dataset.fingerprint}, len(dataset.train) * VIEWS
        row = output_cache.RowType((CLASSES,), "float32")
        table = output_cache.Cache(folder / "tables").table(key, rows=count, describe=lambda: row)
        for rows in np.array_split(np.arange(count), 64):
            if not table.read(rows)[1].all():
                table.write(rows, np.zeros((len(rows), CLASSES), np.float32))
        batches = Batches(
            dataset.train, dataset, seed=0, epoch=0, batch_size=BATCH, augment=dataset.augment, crops=VIEWS
        )
        yield {}
        for number in range(len(batches)):
            images, labels = batches.read(number)
            indices, views = batches.seen(number)
            logits, present = table.read(indices * VIEWS + views)
            assert present.all()
            yield images, labels, logits


def grain_batches(folder: pathlib.Path, cores: int):
    import grain
    import numpy as np
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # Grain reads its own
    with contextlib.closing(load(folder, 0)) as dataset:
        view = GrainView(dataset.train.streamed.stream.sources[0], dataset.augment)
        pictures = grain.MapDataset.source(np.arange(len(dataset.train))).shuffle(seed=0)
        # One thread a process: each would make a batch of its own, which one core does no faster, but in bursts.
        read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
        options = grain.multiprocessing.MultiprocessingOptions(num_workers=cores)
        batches = pictures.map(view).batch(BATCH, drop_remainder=True).to_iter_dataset(read).mp_prefetch(options)
        yield {"grain": grain.__version__}
        yield from batches


class GrainView:
    """From an index to a view, as kdzoo's workers make it."""

    def __init__(self, source, augment: str):
        from kdzoo.data.crops import Transform

        self._source, self._transform = source, Transform(augment, (SIZE, SIZE))

    def __call__(self, index):
        import numpy as np

        from kdzoo.data import crops
        from kdzoo.data.decoding import open_picture

        index = int(index)
        (draws,) = crops.draw(np.array([index]), np.array([index % VIEWS]))
        picture = open_picture(self._source.read(index)[0], (255, 255, 255))
        return self._transform.view(picture, index % VIEWS, draws)


def tf_batches(folder: pathlib.Path, cores: int):
    import tensorflow as tf

    paths = sorted(map(str, (folder / "pictures").rglob("*.jpg")))

    def view(path, seed):
        content = tf.io.read_file(path)
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(content),
            tf.zeros([1, 0, 4]),
            seed=tf.stack([0, seed]),
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        top, left, _ = tf.unstack(begin)
        height, width, _ = tf.unstack(size)
        image = tf.io.decode_and_crop_jpeg(content, [top, left, height, width], channels=3)
        image = tf.image.resize(image, (SIZE, SIZE), antialias=True)  # float32
        image = tf.cast(tf.round(image), tf.uint8)
        return tf.image.stateless_random_flip_left_right(image, tf.stack([1, seed]))

    batches = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=0).enumerate()
    batches = batches.map(lambda number, path: view(path, number), num_parallel_calls=tf.data.AUTOTUNE)
    yield {"tensorflow": tf.__version__}
    yield from batches.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def torch_batches(folder: pathlib.Path, cores: int, *, tensors: bool):
    import PIL
    import torch
    import torchvision
    from torchvision.transforms import v2

    torch.set_num_threads(cores)
    crops = [v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip()]
    transform = v2.Compose(crops if tensors else [*crops, v2.PILToTensor()])
    options = {"loader": decode_tensor} if tensors else {}  # else PIL's, torchvision's default
    pictures = torchvision.datasets.ImageFolder(folder / "pictures", transform, **options)
    batches = torch.utils.data.DataLoader(pictures, BATCH, shuffle=True, num_workers=cores, drop_last=True)
    yield {"torch": torch.__version__, "torchvision": torchvision.__version__, "pillow of torchvision": PIL.__version__}
    yield from batches


def decode_tensor(path: str):
    from torchvision import io

    return io.decode_jpeg(io.read_file(path), mode=io.ImageReadMode.RGB)


def limit(way: str, folder: pathlib.Path, cores: int, batches: int) -> tuple[float, dict]:
    """Images/s of decoding and resizing alone."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(cores), context.Queue()
    processes = [
        context.Process(target=decode_alone, args=(way, folder, part, cores, batches, barrier, results))
        for part in range(cores)
    ]
    for process in processes:
        process.start()
    seconds = max(results.get()[0] for _ in processes)
    for process in processes:
        process.join()
    import PIL
    import simplejpeg

    return batches * BATCH / seconds, {"simplejpeg": simplejpeg.__version__, "pillow": PIL.__version__}


def decode_alone(way, folder, part: int, parts: int, batches: int, barrier, results) -> None:
    import numpy as np
    import simplejpeg
    from PIL import Image

    from kdzoo.data import crops, decoding

    paths = sorted((folder / "pictures").rglob("*.jpg"))[: (WARM + batches) * BATCH][part::parts]
    contents = [path.read_bytes() for path in paths]
    draws = crops.draw(np.arange(len(paths)), np.zeros(len(paths), np.int64))
    boxes = [crops.inception_box(375, 500, numbers)[0] for numbers in draws]

    memory = np.empty(375 * 500 * 3, np.uint8)

    def run(first: int, last: int) -> None:
        for content, box in zip(contents[first:last], boxes[first:last], strict=True):
            factor = 2 if min(box.right - box.left, box.bottom - box.top) >= 2 * SIZE else 1
            height, width = -(-375 // factor), 500 // factor
            size = {"min_height": height, "min_width": width, "min_factor": factor}
            pixels = simplejpeg.decode_jpeg(content, **size, buffer=memory)
            box = decoding.Box(*(edge / factor for edge in box))
            if way == "limit_pillow":
                Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
            else:
                decoding.resample(pixels, box, (SIZE, SIZE))

    warm = len(paths) - batches * BATCH // parts
    run(0, warm)
    barrier.wait()
    began = time.perf_counter()
    run(warm, len(paths))
    results.put((time.perf_counter() - began,))


# What is shown.


def show(result: dict) -> None:
    """Prints the tables."""
    from kdzoo.reports.tables import markdown

    for cores, rates in result["images_per_second"].items():
        best = max((way for way in PEERS if way in rates), key=lambda way: statistics.median(rates[way]), default="")
        bases = [base for base in ("limit", best) if base in rates]
        names = [f"to {NAMES[base].partition(':')[0]}" for base in bases]
        rows = [(f"cores: {cores}", "images/s", "quartiles", *names)]
        for way, of_way in rates.items():
            low, median, high = quartiles(of_way)
            ratios = [quartiles([a / b for a, b in zip(of_way, rates[base], strict=True)]) for base in bases]
            cells = [f"{middle:.2f} ({first:.2f}-{last:.2f})" for first, middle, last in ratios]
            rows.append((NAMES[way], f"{median:.0f}", f"{low:.0f}-{high:.0f}", *cells))
        print(markdown(rows, words=1), end="\n\n")
    print(json.dumps({key: value for key, value in result.items() if key != "images_per_second"}))


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4)
    return low, median, high


if __name__ == "__main__":
    main()
