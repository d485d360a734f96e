"""Load ONNX files that nobody vouches for: sizes first, one-line errors, no path escapes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from onnx import numpy_helper

from fastml.compiler.support.diagnostics import FastmlError, SourceNode, in_file, shorten

MAX_FILE_BYTES = (1 << 31) - 1
"""Largest model file: what a protobuf message may hold."""
MAX_TENSOR_BYTES = 1 << 30
"""Largest constant tensor."""

Plain: TypeAlias = NDArray[Any]
"""An array of any element type that ONNX has."""


@dataclass(frozen=True)
class Model:
    """A parsed model: its graph, operator sets and the folder of its external data."""

    file: str
    folder: Path
    graph: onnx.GraphProto
    opsets: Mapping[str, int]

    def error(self, code: str, message: str, hint: str | None = None) -> FastmlError:
        """Return an error about the file as a whole."""
        return FastmlError(message, in_file(self.file), code=code, hint=hint)

    def source(self, index: int, node: onnx.NodeProto) -> SourceNode:
        """Return the place of a node."""
        opset = self.opsets.get(node.domain, 1)
        return SourceNode(self.file, node.name, node.op_type, opset, index)

    def tensor(self, proto: onnx.TensorProto) -> Plain:
        """Return the contents of a constant tensor, all sizes checked first."""
        name = shorten(proto.name)
        sizes = list(proto.dims)
        count = math.prod(sizes)
        if min(sizes, default=0) < 0:
            raise self.error("FML-IMP-SHAPE", f"tensor '{name}' has a negative size")
        try:
            kind = onnx.helper.tensor_dtype_to_np_dtype(proto.data_type)
        except (KeyError, TypeError, ValueError):
            message = f"tensor '{name}' has the unknown element type {proto.data_type}"
            raise self.error("FML-IMP-TYPE", message) from None
        if kind == np.object_:
            raise self.error("FML-IMP-TYPE", f"tensor '{name}' holds strings")
        if count * kind.itemsize > MAX_TENSOR_BYTES:
            message = f"tensor '{name}' of shape {sizes} is larger than {MAX_TENSOR_BYTES} bytes"
            raise self.error("FML-IMP-SHAPE", message)
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            proto = self._internal(proto, name)
        try:
            array = numpy_helper.to_array(proto)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            message = f"tensor '{name}' of shape {sizes} is corrupt: {error}"
            raise self.error("FML-IMP-FILE", message) from None
        return np.asarray(array)

    def _internal(self, proto: onnx.TensorProto, name: str) -> onnx.TensorProto:
        """Read external data, which must be a part of a file inside the model's folder."""
        entries = {entry.key: entry.value for entry in proto.external_data}
        folder = self.folder.resolve()
        try:
            path = (folder / entries["location"]).resolve()
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", "-1"))
        except (KeyError, ValueError, OSError):
            message = f"tensor '{name}' has malformed external data"
            raise self.error("FML-IMP-EXTERNAL", message) from None
        if not path.is_relative_to(folder) or path == folder:
            message = f"tensor '{name}' is stored outside the folder of the model"
            raise self.error("FML-IMP-EXTERNAL", message)
        if not path.is_file():
            message = f"tensor '{name}' is stored in '{entries['location']}', which is no file"
            raise self.error("FML-IMP-EXTERNAL", message)
        available = path.stat().st_size - offset
        length = available if length < 0 else length
        if offset < 0 or length > min(available, MAX_TENSOR_BYTES):
            message = f"tensor '{name}' is not within the {path.stat().st_size} bytes of its file"
            raise self.error("FML-IMP-EXTERNAL", message)
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        return onnx.TensorProto(
            name=proto.name, dims=proto.dims, data_type=proto.data_type, raw_data=data
        )


def _is_text(message: Message) -> bool:
    """Return whether every string in a message is one; protobuf gives others as bytes."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            values = [value] if isinstance(value, str | bytes) else value
            if not all(isinstance(entry, str) for entry in values):
                return False
        elif field.type == field.TYPE_MESSAGE:
            parts = [value] if isinstance(value, Message) else value
            if not all(_is_text(part) for part in parts):
                return False
    return True


def load(path: Path) -> Model:
    """Parse a model file; raise ``FastmlError`` on anything that is not a model."""

    def error(message: str) -> FastmlError:
        return FastmlError(message, in_file(path.name), code="FML-IMP-FILE")

    try:
        if not path.is_file():
            message = "is a folder" if path.is_dir() else "no such file"
            raise FastmlError(message, in_file(path.name), code="FML-FILE")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise error(f"{size} bytes are more than a model may have")
        contents = path.read_bytes()
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise FastmlError(reason, in_file(path.name), code="FML-FILE") from None
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(contents)
    except (DecodeError, ValueError):
        raise error(f"not an ONNX model, or a truncated one ({size} bytes)") from None
    if not _is_text(proto):
        raise error("a name in it is not UTF-8 text")
    if not proto.HasField("graph") or not proto.opset_import or not proto.graph.output:
        raise error("not an ONNX model: it has no graph, no outputs or no operator set")
    opsets: dict[str, int] = {}
    for entry in proto.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if opsets.setdefault(domain, entry.version) != entry.version:
            raise error(f"operator set '{shorten(domain)}' is imported in two versions")
    return Model(path.name, path.parent, proto.graph, opsets)
