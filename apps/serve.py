"""Serves published models over gRPC with the API of TensorFlow Serving, for machines without it.

  python -m apps.serve --models='wrn16-*' --port=8500
  python -m apps.distill --teacher=grpc://localhost:8500/wrn16-2_10-35 ...

The server handles Predict, GetModelMetadata, GetModelStatus and gRPC's health checks, without encryption or passwords.
It listens to this machine alone unless --host is set. SIGTERM or Ctrl-C ends it once running requests are done.
"""

import time

from absl import flags

from apps import command, flag_values, signals
from kdzoo import serving
from kdzoo.hub.models import list_cards
from kdzoo.ranges import Range
from kdzoo.runs import machine
from zoo import InputError

flags.DEFINE_string("models", "*", "Names of the models to serve, as a shell pattern. Example: 'wrn16-*'.")
flag_values.define_directory(
    "path",
    None,
    "The only folder of published models to serve from. Default: $KDZOO_HOME, then the checkout's saved_models.",
    exists=True,
)
flags.DEFINE_string(
    "host",
    "localhost",
    "Host name or address to listen on. 0.0.0.0 accepts requests from the whole network; anyone who reaches the port"
    " may send them.",
)
flags.DEFINE_integer(
    "port", 8500, "TCP port to listen on. 0 picks a free port, which is printed.", lower_bound=0, upper_bound=65535
)
flag_values.define_number(
    "request_mb",
    16.0,
    "Largest accepted request, in units of 2^20 bytes.",
    Range(least=0.01, most=2047, example=16),  # gRPC counts a message's bytes in 32 bits
)


def main() -> None:
    args = flags.FLAGS
    cards = list_cards(args.models, path=args.path)
    if not cards:
        raise InputError(
            "There must be a published model to serve: see apps.list."
            f" Received: none like {args.models} in {args.path or 'KDZOO_HOME or the checkout'}"
        )
    host = serving.check_address(args.host, args.port).rpartition(":")[0]  # before models are loaded, which takes long
    with signals.stop_signals() as received:
        machine.check_backend()
        models = serving.load(cards, path=args.path)
        server, port = serving.start(models, host=args.host, port=args.port, request_mb=args.request_mb)
        names = ", ".join(model.name for model in models)
        print(f"serving {len(models)} models at grpc://{host}:{port}/NAME: {names}", flush=True)
        while not received:
            time.sleep(0.1)
        server.stop(grace=10).wait()  # lets requests under way finish


if __name__ == "__main__":
    command.run(main)
