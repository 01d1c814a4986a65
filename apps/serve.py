"""Serves published models over gRPC with the API of TensorFlow Serving, for machines without it.

  python -m apps.serve --models='wrn16-*' --port=8500
  python -m apps.distill --teacher=grpc://localhost:8500/wrn16-2_10-35 ...

The server handles Predict, GetModelMetadata, GetModelStatus and gRPC's health checks. Images of several requests are
computed together. It listens to this machine alone, without encryption or passwords, unless --host, --tls_cert and
--token_file are set. A new folder NAME/2 beside NAME/1 is loaded and served without a pause. SIGTERM or Ctrl-C ends the
server once running requests are done.
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
    " may send them, unless --token_file is set.",
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
flag_values.define_number(
    "max_batch_size",
    128,
    "Most images, of several requests, that are computed together. 1: each request is computed by itself.",
    Range(least=1, most=4096, whole=True, example=128),
)
flag_values.define_number(
    "batch_timeout_ms",
    2.0,
    "How long the first image of a batch waits for others while nothing is computed, in milliseconds.",
    Range(least=0, most=10_000, example=2),
)
flag_values.define_number(
    "max_queue",
    1024,
    "Most images that wait or are computed at once. A request beyond is refused with RESOURCE_EXHAUSTED.",
    Range(least=1, most=10**6, whole=True, example=1024),
)
flag_values.define_number(
    "drain_seconds",
    10.0,
    "How long requests under way may take after SIGTERM or Ctrl-C, in seconds. Then they are cancelled.",
    Range(least=0, most=86_400, example=10),
)
flag_values.define_number(
    "reload_seconds",
    2.0,
    "How often the server looks for new versions of its models, in seconds. 0: never.",
    Range(least=0, most=86_400, example=2),
)
flags.DEFINE_string("tls_cert", None, "PEM file of the server's certificate: requests are encrypted. With --tls_key.")
flags.DEFINE_string("tls_key", None, "PEM file of the certificate's private key, without a password.")
flags.DEFINE_string(
    "token_file",
    None,
    "File of accepted tokens, one a line. A request must have one in its metadata, as authorization: Bearer TOKEN;"
    " only health checks need none. Without TLS anyone who can read the traffic can read the token.",
)
flags.DEFINE_integer(
    "metrics_port",
    None,
    "TCP port of Prometheus metrics, at http://HOST:PORT/metrics, without encryption or token. 0 picks a free port,"
    " which is printed. Default: no metrics.",
    lower_bound=0,
    upper_bound=65535,
)


def main() -> None:
    args = flags.FLAGS
    cards = list_cards(args.models, path=args.path)
    if not cards:
        raise InputError(
            "There must be a published model to serve: see apps.list."
            f" Received: none like {args.models} in {args.path or 'KDZOO_HOME or the checkout'}"
        )
    if (args.tls_cert is None) != (args.tls_key is None):
        raise InputError(
            "tls_cert and tls_key must be given together, for example --tls_cert=cert.pem --tls_key=key.pem."
            f" Received: {'tls_key' if args.tls_cert is None else 'tls_cert'} alone"
        )
    host = serving.check_address(args.host, args.port).rpartition(":")[0]  # before models are loaded, which takes long
    if args.metrics_port is not None:
        _check_metrics_port(args.host, args.port, args.metrics_port)
    credentials = serving.load_credentials(args.tls_cert, args.tls_key) if args.tls_cert is not None else None
    tokens = serving.read_tokens(args.token_file) if args.token_file is not None else []
    batching = serving.Batching(max_batch_size=args.max_batch_size, timeout_ms=args.batch_timeout_ms)
    with signals.stop_signals() as received:
        machine.check_backend()
        models = serving.load(cards, path=args.path, batching=batching)
        server, port = serving.start(
            models,
            host=args.host,
            port=args.port,
            request_mb=args.request_mb,
            max_queue=args.max_queue,
            credentials=credentials,
            tokens=tokens,
        )
        names = ", ".join(model.name for model in models)
        scheme = "grpc" if credentials is None else "grpcs"
        print(f"serving {len(models)} models at {scheme}://{host}:{port}/NAME: {names}", flush=True)
        if args.metrics_port is not None:
            metrics_port = server.metrics.listen(args.host, args.metrics_port)
            print(f"metrics at http://{host}:{metrics_port}/metrics", flush=True)
        reloader = serving.Reloader(server, args.reload_seconds, _report) if args.reload_seconds else None
        while not received:
            time.sleep(0.1)
        ended = server.stop(grace=args.drain_seconds)  # lets requests under way finish
        if reloader:
            reloader.stop()
        ended.wait()


def _check_metrics_port(host: str, port: int, metrics_port: int) -> None:
    if metrics_port == port != 0:
        raise InputError(f"metrics_port must differ from port, for example 9100. Received: {metrics_port}")
    serving.check_address(host, metrics_port)


def _report(name: str, version: int) -> None:
    print(f"serving version {version} of {name}", flush=True)


if __name__ == "__main__":
    command.run(main)
