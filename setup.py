import pathlib
import re

from setuptools import find_packages, setup

here = pathlib.Path(__file__).parent
version = re.search(r'__version__ = "(.+?)"', (here / "kdzoo" / "version.py").read_text())[1]

setup(
    name="kdzoo",
    version=version,
    description="Knowledge distillation in Keras 3: small image classifiers that learn from big ones",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["zoo", "kdzoo", "kdzoo.*", "apps"]),
    package_data={
        "apps": ["flags/*.flags", "grids/*.json"],
        "": ["*.pyi", "py.typed", "*.schema.json"],
        "kdzoo.paper": ["*.csv"],
    },
    install_requires=[
        "absl-py>=2.1,<3",
        "array-record>=0.8,<1; sys_platform != 'win32'",  # random access to data sets of TFDS, which leaves it optional
        "cykooz-resizer>=4,<5",  # every change of size: Pillow's algorithm, three times as fast
        "fastjsonschema>=2.21,<3",  # of records and cards; pure Python, fast, needs nothing else
        "importlib_resources>=6",  # tensorflow-datasets needs it on Python 3.11 without declaring it
        "keras>=3.15,<3.16",
        "lazy-loader>=0.5,<1",  # exports of each package, listed once in its __init__.pyi
        "keras-tuner[bayesian]>=1.4.8,<2",
        "matplotlib>=3.9,<4",
        "numpy>=2,<3",
        "packaging>=24.2",  # SPDX expressions on cards; keras needs it too
        "pillow>=11",  # pictures that are no JPEG; matplotlib needs it too
        "requests>=2.32,<3",  # published models from a server; tensorflow-datasets needs it too
        "scikit-learn>=1.5,<2",  # the digits, and the tuner's Bayesian search
        "scipy>=1.13,<2",  # the quantile of Student's t; scikit-learn needs it too
        "simplejpeg>=1.8,<2",  # JPEGs by libjpeg-turbo, at a fraction of their size where that is enough
        "tensorboard>=2.20,<2.22",  # TensorFlow 2.21 no longer brings it
        "tensorflow>=2.21,<2.22",
        "tensorflow-datasets>=4.9.9,<5",
        "tqdm>=4.66,<5",  # progress of a download; tensorflow-datasets needs it too
    ],
    entry_points={
        "console_scripts": [
            f"kdzoo-{path.stem} = apps.console_scripts:main"  # runs it as `python -m` does
            for path in sorted(here.glob("apps/*.py"))
            if "command.run(main)" in path.read_text()
        ]
    },
    extras_require={
        # Runtimes of exported files, and the tools that quantise them.
        "litert": ["ai-edge-litert>=2.1,<3", "ai-edge-quantizer>=0.10,<1"],
        "onnx": ["onnx>=1.18,<2", "onnxruntime>=1.22,<2", "tf2onnx>=1.17,<2"],  # Keras exports by tf2onnx
        "openvino": ["openvino>=2025.2", "nncf>=2.18"],
        "cluster": ["ray[default]>=2.50,<3"],  # many runs, and tables of teacher outputs, on many machines
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "jax": ["jax>=0.10,<0.12"],
        "s3": ["obstore>=0.8,<1"],  # S3 by its own protocol, with conditional writes; one wheel without dependencies
        # PredictionService's messages, gRPC's health checks, and the metrics of apps.serve
        "serving": [
            "tensorflow-serving-api>=2.21,<2.22",
            "grpcio-health-checking>=1.80,<2",
            "prometheus-client>=0.21,<1",
        ],
        "hub": ["keras-hub>=0.25"],  # networks of its presets; without it `kerashub:` is refused
        "docs": ["furo>=2025.9", "myst-parser>=5,<6", "sphinx>=9,<10"],
        "test": [
            "kdzoo[docs,jax,onnx,serving]",
            "check-jsonschema>=0.35",  # of the workflow
            "codespell>=2.4",
            "coverage>=7.10",  # the first that follows subprocesses by itself
            "hypothesis>=6.100,<7",  # draws the cases of tests/fuzz
            "import-linter>=2.6",
            "mypy>=2.4,<3",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.14",
            "scipy-stubs>=1.16",
            "sybil>=9",  # runs the examples of the documentation
            "types-requests",
            "types-tqdm",
        ],
        # What `make test` skips: clusters, stores on S3, and the simulation in benchmarks/scaling.py.
        "test-cluster": [
            "kdzoo[cluster,s3]",
            "moto[server]>=5.1,<6",  # a server of S3
            "simpy>=4.1,<5",
        ],
    },
)
