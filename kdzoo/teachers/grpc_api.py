"""gRPC and the messages of TensorFlow Serving, for client and server. Raises InputError if they are not installed."""

from zoo import InputError

try:
    import grpc
    import tensorflow as tf
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_health.v1.health import aio as health_aio
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )
except ImportError as error:
    raise InputError(
        "grpc:// teachers and apps.serve need TensorFlow and the packages of pip install 'kdzoo[serving]'."
        f" Received: {error}"
    ) from None

BATCHING = "kdzoo-batching"  # metadata; "off": the request's images are computed by themselves
RETRY = "grpc-retry-pushback-ms"  # metadata of gRPC's own: when a refused request may be sent again

__all__ = [
    "BATCHING",
    "RETRY",
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "grpc",
    "health_aio",
    "health_pb2",
    "health_pb2_grpc",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_service_pb2_grpc",
    "tf",
]
