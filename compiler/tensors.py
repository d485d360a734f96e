"""Tensors in files: ``.npy`` and ``.npz`` in and out, never through a pickle."""

import os
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.modules import read_arrays, unreadable
from fastml.compiler.support.diagnostics import FastmlError, in_file

Tensors = dict[str, NDArray[np.generic]]


def read_tensors(path: Path, names: Sequence[str]) -> Tensors:
    """Read the inputs ``names`` of a model from a file.

    One input: an ``.npy`` file, or an ``.npz`` file under the input's name or ``input``.
    Several: an ``.npz`` file by name. An array of integers with another one called
    ``input_scale`` (or ``NAME_scale``) stands for their product in float32.
    """
    if path.suffix == ".npy":
        if len(names) != 1:
            raise _error(path, f"one array for {len(names)} inputs", f"an .npz file of {names}")
        return {names[0]: _load_array(path)}
    if path.suffix != ".npz":
        raise _error(path, f"'{path.suffix}' is not a kind of input", "use an .npy or .npz file")
    arrays = read_arrays(path)
    found = Tensors()
    for name in names:
        key = "input" if len(names) == 1 and name not in arrays else name
        if key not in arrays:
            raise _error(path, f"has no array '{key}'", f"it has {', '.join(arrays)}")
        scale = arrays.get(f"{key}_scale")
        found[name] = arrays[key] if scale is None else _scaled(path, key, arrays[key], scale)
    return found


def _scaled(
    path: Path, key: str, integers: NDArray[np.generic], scale: NDArray[np.generic]
) -> NDArray[np.generic]:
    if integers.dtype.kind not in "iu" or scale.size != 1 or scale.dtype.kind not in "fiu":
        raise _error(path, f"'{key}_scale' must be one number that scales integers")
    return integers.astype(np.float32) * np.float32(scale.reshape(())[()])


def _load_array(path: Path) -> NDArray[np.generic]:
    try:
        loaded: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise unreadable(path, error) from error
    if not isinstance(loaded, np.ndarray):
        raise _error(path, "is not one array")
    return cast(NDArray[Any], loaded)


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write one tensor as ``.npy``, or any number by name as ``.npz``; whole or not at all."""
    if path.suffix == ".npy":
        if len(tensors) != 1:
            raise _error(path, f"{len(tensors)} tensors for an .npy file", "use an .npz file")
        (tensor,) = tensors.values()
        write_atomically(path, _array_bytes(lambda file: np.save(file, storable(tensor))))
    elif path.suffix == ".npz":
        stored = {name: storable(tensor) for name, tensor in tensors.items()}
        write_atomically(path, _array_bytes(lambda file: save_arrays(file, stored)))
    else:
        raise _error(path, f"'{path.suffix}' is not a kind of output", "use an .npy or .npz file")


def check_output(path: Path) -> None:
    """Refuse an output path before anything is computed."""
    if path.suffix not in (".npy", ".npz"):
        raise _error(path, f"'{path.suffix}' is not a kind of output", "use an .npy or .npz file")
    if not path.absolute().parent.is_dir():
        raise _error(path, "its folder does not exist")


def _array_bytes(save: Callable[[BytesIO], object]) -> bytes:
    file = BytesIO()
    save(file)
    return file.getvalue()


def save_arrays(file: BytesIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an ``.npz`` with any text as a name (``np.savez`` takes keywords alone)."""
    import zipfile

    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)


def storable(tensor: NDArray[Any]) -> NDArray[Any]:
    """Return integers of any size as something a file can hold: text where over 64 bits."""
    return tensor.astype(np.str_) if tensor.dtype == object else tensor


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and not path.is_file():  # a device, such as /dev/null
            path.write_bytes(content)
            return
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise FastmlError(
            f"cannot be written: {reason}", in_file(str(path)), code="FML-FILE"
        ) from (error)


def _error(path: Path, message: str, hint: str | None = None) -> FastmlError:
    return FastmlError(message, in_file(str(path)), code="FML-USAGE", hint=hint)
