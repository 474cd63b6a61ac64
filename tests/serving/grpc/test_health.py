"""grpc.health.v1, which Kubernetes probes ask, and reflection, which grpcurl asks."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

SERVICE = "inference.GRPCInferenceService"


@pytest.fixture
def channel(predictor):
    with grpc.insecure_channel(f"127.0.0.1:{predictor.grpc_port}") as channel:
        yield channel


@pytest.mark.parametrize("service", ["", SERVICE])
def test_a_served_model_is_healthy(channel, service):
    health = health_pb2_grpc.HealthStub(channel)
    reply = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_the_health_of_an_unknown_service_is_not_found(channel, predictor):
    health = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(health_pb2.HealthCheckRequest(service="other"), timeout=30)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "traceback" not in predictor.log.read_text()


def test_health_can_be_watched(channel):
    watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
    assert next(iter(watched)).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()


def test_reflection_lists_the_services_and_describes_them(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    listed, described = stub.ServerReflectionInfo(iter(asked), timeout=30)
    names = {service.name for service in listed.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names
    (file, *_) = described.file_descriptor_response.file_descriptor_proto
    assert b"ModelInfer" in file
