"""gRPC as bytes: messages that no client library would send, and no protobuf of KServe's here."""

import grpc

INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field: text, bytes, a message, or packed numbers."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def request(encoded: bytes, model: str = "scene", extra: bytes = b"") -> bytes:
    """A ModelInferRequest of one encoded image, and what else is to be in it."""
    tensor = field(1, b"image") + field(2, b"BYTES") + field(3, varint(1))
    raw = len(encoded).to_bytes(4, "little") + encoded
    return field(1, model.encode()) + field(5, tensor) + field(7, raw) + extra


def call(port: int, message: bytes, method: str = INFER, timeout: float = 30, **options):
    """Call a method; return the status, and the reply or the details."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            reply = channel.unary_unary(method)(message, timeout=timeout, **options)
        except grpc.RpcError as error:
            return error.code(), error.details()
    return grpc.StatusCode.OK, reply
