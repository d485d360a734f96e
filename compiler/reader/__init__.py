"""Readers: model files in, ``fastml`` dialect out, bit-exact or refused."""

from fastml.compiler.reader.read import NodeStatus, check, read_onnx

__all__ = ["NodeStatus", "check", "read_onnx"]
