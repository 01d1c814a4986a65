"""Serves published models over gRPC, as TensorFlow Serving does: for machines without it.

  python -m apps.serve --models='wrn16-*' --port=8500
  python -m apps.distill --teacher=grpc://localhost:8500/wrn16-2_10-35 ...

It answers Predict, GetModelMetadata, GetModelStatus and gRPC's health checks, to this machine alone unless --host says
otherwise, without encryption or passwords.
"""

import time

from absl import flags

from apps import common
from kdzoo.hub.models import list_cards
from zoo import InputError

flags.DEFINE_string("models", "*", "Names, as a shell's pattern.")
flags.DEFINE_string("path", None, "The only folder of models to serve from.")
flags.DEFINE_string("host", "localhost", "To listen on; 0.0.0.0 answers the whole network.")
flags.DEFINE_integer("port", 8500, "0: any that is free.", lower_bound=0, upper_bound=65535)
flags.DEFINE_float("request_mb", 16.0, "Largest request, in 2^20 bytes.", lower_bound=0.01)


def main() -> None:
    args = flags.FLAGS
    cards = list_cards(args.models, path=args.path)
    if not cards:
        raise InputError(
            "There must be a published model to serve: see apps.list."
            f" Received: none like {args.models} in {args.path or 'KDZOO_HOME or the checkout'}"
        )
    with common.stop_signals() as received:
        serving = common.import_quietly("kdzoo.serving.server")
        models = serving.load(cards, path=args.path)
        server, port = serving.start(models, host=args.host, port=args.port, request_mb=args.request_mb)
        names = ", ".join(model.name for model in models)
        print(f"serving {len(models)} models at grpc://{args.host}:{port}/NAME: {names}", flush=True)
        while not received:
            time.sleep(0.1)
        server.stop(grace=10).wait()  # answers what was asked already


if __name__ == "__main__":
    common.run(main)
