"""Configuration files: build options in TOML or JSON, also under hls4ml's names.

Our own options stand at the top under the names of their flags. hls4ml's tables ``Model``,
``LayerType`` and ``LayerName`` and its top-level keys are accepted where the notion exists:
a key that we do not know is an error, as is a value that asks for something else than what
will be built.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from fastml.compiler.options import OPTIONS, as_table, unavailable, usage_error
from fastml.compiler.support.diagnostics import FastmlError, in_file

MAX_BYTES = 1 << 24
"""Largest configuration file that is read."""

_RENAMED = {"ClockPeriod": "clock-ns", "IOType": "io"}
_DENSE = ("Dense", "MatMul", "Gemm")
_STRATEGIES = {
    "latency": "auto",
    "unrolled": "auto",
    "distributed_arithmetic": "auto",
    "da": "auto",
    "resource": "dsp",
}
"""hls4ml's strategies, and the multipliers that they mean here."""
_MODEL_KEYS = {"ReuseFactor": "reuse", "Strategy": "Strategy", "Precision": "Precision"}


def read_configuration(path: Path) -> dict[str, object]:
    """Return the options of a file by the names of their flags."""
    table = _load(path)
    options = dict[str, object]()
    for key, value in table.items():
        where = f"{path}: {key}"
        if key in ("Model", "LayerType", "LayerName", "HLSConfig"):
            continue
        name = _RENAMED.get(key, key)
        if name not in OPTIONS:
            raise usage_error(where, "unknown key")
        if name in options:
            raise usage_error(where, "given twice")
        options[name] = value
    nested = as_table(table.get("HLSConfig", {}), f"{path}: HLSConfig")
    for key in nested:
        if key not in ("Model", "LayerType", "LayerName") or key in table:
            raise usage_error(f"{path}: HLSConfig.{key}", "unknown key, or given twice")
    tables = {**nested, **table}
    _read_model(as_table(tables.get("Model", {}), f"{path}: Model"), path, options)
    for kind in ("LayerType", "LayerName"):
        layers = as_table(tables.get(kind, {}), f"{path}: {kind}")
        for layer, keys in layers.items():
            where = f"{path}: {kind}.{layer}"
            _read_layer(as_table(keys, where), kind, layer, where, options)
    return options


def _load(path: Path) -> Mapping[str, object]:
    location = in_file(str(path))
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FastmlError("too large for a configuration", location, code="FML-FILE")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FastmlError(f"cannot be read: {error}", location, code="FML-FILE") from error
    try:
        match path.suffix:
            case ".toml":
                return tomllib.loads(text)
            case ".json":
                return as_table(json.loads(text), str(path))
            case _:
                raise FastmlError(
                    f"'{path.suffix}' is not a kind of configuration",
                    location,
                    code="FML-USAGE",
                    hint="use a .toml or .json file",
                )
    except (ValueError, RecursionError) as error:  # both decoders raise a ValueError
        raise FastmlError(f"malformed: {error}", location, code="FML-FILE") from error


def _read_model(keys: Mapping[str, object], path: Path, options: dict[str, object]) -> None:
    for key, value in keys.items():
        where = f"{path}: Model.{key}"
        if key not in _MODEL_KEYS:
            raise usage_error(where, "unknown key")
        if key == "Precision":
            if "precision" in options:
                raise usage_error(where, "given twice")
            options["precision"] = _default_precision(value, where)
        elif key == "ReuseFactor":
            if "reuse" in options:
                raise usage_error(where, "given twice")
            options["reuse"] = OPTIONS["reuse"].read(value, where)
        elif (kind := _multipliers(value, where)) != "auto":
            if options.setdefault("multipliers", kind) != kind:
                raise usage_error(where, "'multipliers' says something else")


def _default_precision(value: object, where: str) -> object:
    """Return the precision of a whole model; ``{"default": type}`` is hls4ml's longer form."""
    if isinstance(value, Mapping):
        table = as_table(cast(object, value), where)
        if set(table) != {"default"}:
            raise usage_error(
                where,
                "only a default precision can be given for a model",
                "accumulators are exact, and need none",
                "FML-OPTION",
            )
        value = table["default"]
    return value


def _multipliers(value: object, where: str) -> str:
    """Return which multipliers a ``Strategy`` of hls4ml asks for."""
    kind = _STRATEGIES.get(str(value).lower())
    if kind is None:
        raise usage_error(where, f"'{value}' is no strategy", f"known are {', '.join(_STRATEGIES)}")
    return kind


def _read_folding(
    key: str, value: object, layer: str, where: str, options: dict[str, object]
) -> None:
    """Take the reuse factor or the strategy of one layer, or of all dense ones (``*``)."""
    if key == "ReuseFactor":
        reuse = options.get("reuse-of", {})
        if not isinstance(reuse, dict):
            raise usage_error(where, "reuse factors are given in two places")
        reuse = as_table(reuse, where)  # pyright: ignore[reportUnknownArgumentType]
        given = OPTIONS["reuse"].read(value, where)
        if reuse.get(layer, given) != given:
            raise usage_error(where, f"'{layer}' is given two reuse factors")
        options["reuse-of"] = {**reuse, layer: given}
    elif _multipliers(value, where) != options.get("multipliers", "auto"):
        raise unavailable(where, value, "give the strategy of all layers, under Model")


def _read_layer(
    keys: Mapping[str, object], kind: str, layer: str, where: str, options: dict[str, object]
) -> None:
    for key, value in keys.items():
        place = f"{where}.{key}"
        if key in ("ReuseFactor", "Strategy"):
            if kind == "LayerType" and layer not in _DENSE:
                raise usage_error(
                    place, "only dense layers are folded", f"known are {', '.join(_DENSE)}"
                )
            _read_folding(key, value, "*" if kind == "LayerType" else layer, place, options)
        elif key == "Precision" and kind == "LayerName" and "precision" in options:
            _read_own_precision(layer, value, place, options)
        elif key == "Precision" and kind == "LayerName":
            _read_precision(layer, value, place, options)
        elif key == "Precision":
            raise usage_error(
                place,
                "the type of an edge is given by name",
                "give inputs their types under LayerName",
                "FML-OPTION",
            )
        else:
            raise usage_error(place, "unknown key")


def _read_own_precision(layer: str, value: object, where: str, options: dict[str, object]) -> None:
    """Take the precision of a layer, where all others have that of the model."""
    table: Mapping[str, object] = {"result": value}
    if isinstance(value, Mapping):
        table = as_table(cast(object, value), where)
    types = options.setdefault("precision-of", {})
    if not isinstance(types, dict):
        raise usage_error(where, "precisions are given in two places")
    for key, given in table.items():
        if key not in ("result", "weight", "bias"):
            raise usage_error(
                f"{where}.{key}",
                "is not the precision of a result, a weight or a bias",
                "accumulators are exact, and need none",
                "FML-OPTION",
            )
        name = layer if key == "result" else f"{layer}.{key}"
        if cast(dict[str, object], types).setdefault(name, given) != given:
            raise usage_error(f"{where}.{key}", f"'{name}' is given two precisions")


def _read_precision(layer: str, value: object, where: str, options: dict[str, object]) -> None:
    """Take the precision of an input; ``{"result": type}`` is hls4ml's longer form."""
    if isinstance(value, dict):
        table = as_table(value, where)  # pyright: ignore[reportUnknownArgumentType]
        if set(table) != {"result"}:
            raise usage_error(
                where,
                "only the precision of a result can be given",
                "weights and biases have the types that the model gives them",
                "FML-OPTION",
            )
        value = table["result"]
    if not isinstance(value, str):
        raise usage_error(where, "is not a type")
    types = options.setdefault("input-type", {})
    if not isinstance(types, dict):
        raise usage_error(where, "types of inputs are given in two places")
    given = value.removeprefix("ap_")
    if cast(dict[str, object], types).setdefault(layer, given) != given:
        raise usage_error(where, f"'{layer}' is given two types")
