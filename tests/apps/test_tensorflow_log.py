"""TensorFlow's lines on stderr: the start-up lines are dropped, everything else is shown, whatever happens."""

import pathlib
import signal
import subprocess

import pytest

from apps import tensorflow_log
from conftest import ROOT, run_python

STARTUP = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795766787.497942    5117 port.cc:153] oneDNN custom operations are on. You may see slightly different \
numerical results due to floating-point round-off errors from different computation orders. To turn them off, set the \
environment variable `TF_ENABLE_ONEDNN_OPTS=0`.
I0000 00:00:1795766787.498359    5117 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will not be \
used.
I0000 00:00:1795766787.569970    5117 cpu_feature_guard.cc:227] This TensorFlow binary is optimized to use available \
CPU instructions in performance-critical operations.
To enable the following instructions: AVX2 AVX512F FMA, in other operations, rebuild TensorFlow with the appropriate \
compiler flags.
E0000 00:00:1795766790.717826    5117 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: Failed call to \
cuInit: UNKNOWN ERROR (303)
E0000 00:00:1795766790.717826    5117 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: Failed call to \
cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected
E0000 00:00:1795766790.717826    5117 cuda_fft.cc:467] Unable to register cuFFT factory: Attempting to register \
factory for plugin cuFFT when one has already been registered
E0000 00:00:1795766790.717826    5117 cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting to register \
factory for plugin cuDNN when one has already been registered
E0000 00:00:1795766790.717826    5117 cuda_blas.cc:1407] Unable to register cuBLAS factory: Attempting to register \
factory for plugin cuBLAS when one has already been registered
W0000 00:00:1795766790.717826    5117 computation_placer.cc:177] computation placer already registered. Please check \
linkage and avoid linking the same target more than once.
2026-05-01 10:00:00.000000: W tensorflow/compiler/tf2tensorrt/utils/py_utils.cc:38] TF-TRT Warning: Could not find \
TensorRT
"""
REAL = """\
W0000 00:00:1795766914.510487    6002 port.cc:148] TF_ENABLE_ONEDNN_OPTS is not set to either '0', 'false', '1', or \
'true'. Using the default setting: true
E0000 00:00:1795766790.717826    5117 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: Failed call to \
cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: system has unsupported display driver / cuda driver combination
W0000 00:00:1795766790.717826    5117 gpu_device.cc:2365] Cannot dlopen some GPU libraries.
E0000 00:00:1795766912.616380    5902 process_state.cc:83] GetCPUAllocator: Failed to parse the env-var

F0000 00:00:1795766928.002608    6081 determinism.cc:36] Check failed: oneDNN custom operations are on.
"""
# A package in TensorFlow's place that prints these lines from its import on.
PACKAGE = f"""
import os, signal, subprocess, sys
os.write(2, {STARTUP.encode()!r} + {REAL.encode()!r} + b"no end of line yet")
HOW
class config:
    def list_physical_devices():
        os.write(2, {STARTUP.encode()!r})
"""
COMMAND = """
import os, sys
from apps import tensorflow_log
tensorflow_log.drop_startup_lines()
import tensorflow
os.write(2, b"imported\\n")
"""


def import_stand_in(folder: pathlib.Path, how: str = "", **options) -> subprocess.CompletedProcess[str]:
    """Imports the package as a command does; `how` is what it does in the middle of its import."""
    package = folder / "tensorflow" / "__init__.py"
    package.parent.mkdir()
    package.write_text(PACKAGE.replace("HOW", how))
    env = {"PYTHONPATH": f"{folder}:{ROOT}", "TF_CPP_MIN_LOG_LEVEL": None, **options.pop("env", {})}
    return run_python("-c", COMMAND, env=env, **options)


def test_exactly_the_startup_lines_are_dropped(tmp_path):
    done = import_stand_in(tmp_path)
    assert done.returncode == 0
    assert done.stderr == f"{REAL}no end of line yetimported\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
def test_nothing_is_lost_when_the_process_is_killed_meanwhile(tmp_path, number):
    done = import_stand_in(tmp_path, f"os.kill(os.getpid(), {int(number)})")
    assert done.returncode == -number
    assert done.stderr == f"{REAL}no end of line yet"


def test_nothing_is_lost_when_the_import_ends_the_process_or_fails(tmp_path):
    done = import_stand_in(tmp_path, "os._exit(3)")
    assert (done.returncode, done.stderr) == (3, f"{REAL}no end of line yet")
    (tmp_path / "other").mkdir()
    done = import_stand_in(tmp_path / "other", "raise ImportError('libcuda.so')")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{REAL}no end of line yetTraceback")
    assert done.stderr.endswith("ImportError: libcuda.so\n")


def test_a_child_that_outlives_the_import_blocks_nothing(tmp_path):
    child = "import os, time; time.sleep(1); os.write(2, b'of the child\\n')"
    done = import_stand_in(tmp_path, f"subprocess.Popen([sys.executable, '-c', {child!r}])")
    assert done.returncode == 0
    assert done.stderr.replace("of the child\n", "") == f"{REAL}no end of line yetimported\n"
    assert "of the child\n" in done.stderr


def test_the_log_level_0_shows_every_line(tmp_path):
    done = import_stand_in(tmp_path, env={"TF_CPP_MIN_LOG_LEVEL": "0"})
    assert done.stderr == f"{STARTUP}{REAL}no end of line yetimported\n"


def test_a_command_shows_errors_of_tensorflow_but_no_startup_lines():
    """The warning comes from TensorFlow's import, the error from its first computation."""
    pytest.importorskip("tensorflow")
    env = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": None}
    env |= {"TF_ENABLE_ONEDNN_OPTS": "maybe", "TF_CPU_ALLOCATOR_USE_BFC": "maybe"}
    done = run_python("-m", "apps.evaluate", "--model=tests/fixtures/run", "--examples=2", env=env)
    assert done.returncode == 0, done.stderr
    *warnings, error = (line for line in done.stderr.splitlines() if "holds no digest of its weights" not in line)
    assert "E0000" in error
    assert "] GetCPUAllocator: Failed to parse the env-var ${TF_CPU_ALLOCATOR_USE_BFC} into bool: maybe." in error
    assert warnings
    assert all("] TF_ENABLE_ONEDNN_OPTS is not set to either" in line for line in warnings)


@pytest.mark.slow
def test_the_library_filters_nothing():
    pytest.importorskip("tensorflow")
    env = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": None}
    done = run_python("-c", "import kdzoo; kdzoo.build('wrn10-1', num_classes=10)", env=env)
    assert done.returncode == 0, done.stderr
    assert tensorflow_log.STARTUP_LINE.search(done.stderr.encode())
