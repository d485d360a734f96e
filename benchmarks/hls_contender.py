"""Run one contender of ``hls.py``, in a process of its own, by an interpreter that has it.

    PYTHON benchmarks/hls_contender.py CONTENDER MODEL.onnx REFEREE.npz BATCH [BATCH ...]

Prints one line of JSON when the first prediction is there, and one with rates and errors. The
time from the start of the process is taken by whoever reads the first line.
"""

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Predict: TypeAlias = Callable[[Array], Array]
INPUT_TYPE = {"global_in": "fixed<16,6>"}
REPEATS = 3


def predict_numpy(model: Path) -> tuple[Predict, Predict]:
    """Return ``design.predict``, the network in NumPy, and the same before the softmax."""
    fastml: Any = import_module("fastml")
    design = fastml.compile(model, input_type=INPUT_TYPE)
    edge = before_softmax(model)

    def logits(x: Array) -> Array:
        return design.simulate(x, "fastml", taps=[edge]).tap[edge]

    return design.predict, logits


def predict_csim(model: Path) -> tuple[Predict, Predict]:
    """Return the HLS C++ of the design, compiled by g++, and the same before the softmax."""
    fastml: Any = import_module("fastml")
    design = fastml.compile(model, input_type=INPUT_TYPE, hls="vitis")
    built = design.build_csim()
    edge = before_softmax(model)

    def logits(x: Array) -> Array:
        beats = built.raw(built.host.encode(design.by_name(x)))
        (port,) = built.design.outputs
        return built.host.decode_taps({port.edge: beats}, [edge])[edge]

    return built, logits


def before_softmax(model: Path) -> str:
    """Return the name of the tensor that goes into the softmax."""
    onnx: Any = import_module("onnx")
    (softmax,) = [n for n in onnx.load(str(model)).graph.node if n.op_type == "Softmax"]
    return softmax.input[0]


def predict_hls4ml(model: Path, *, logits: bool = False) -> tuple[Predict, Predict | None]:
    """Return hls4ml's emulation, made as its documentation says, in Vitis' flavour.

    The file is cleaned by qonnx first; ``logits`` cuts the softmax off. The precision of what
    the model does not quantise, its input among it, is that which the model was trained for.
    """
    wrapper: Any = import_module("qonnx.core.modelwrapper").ModelWrapper(str(model))
    network: Any = import_module("qonnx.util.cleanup").cleanup_model(wrapper)
    if logits:
        (softmax,) = [node for node in network.graph.node if node.op_type == "Softmax"]
        network.graph.output[0].name = softmax.input[0]
        network.graph.node.remove(softmax)
    hls4ml: Any = import_module("hls4ml")
    config = hls4ml.utils.config_from_onnx_model(
        network, granularity="name", backend="Vitis", default_precision="fixed<16,6>"
    )
    made = hls4ml.converters.convert_from_onnx_model(
        network, output_dir=str(Path.cwd() / "hls4ml"), backend="Vitis", hls_config=config
    )
    made.compile()

    def predict(x: Array) -> Array:
        return made.predict(np.ascontiguousarray(x))

    return predict, predict if logits else None


CONTENDERS: dict[str, Callable[[Path], tuple[Predict, Predict | None]]] = {
    "predict": predict_numpy,
    "csim": predict_csim,
    "hls4ml": predict_hls4ml,
    "hls4ml-logits": lambda model: predict_hls4ml(model, logits=True),
}


def cpu_seconds() -> float:
    """Return the processor time of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(predict: Predict, x: Array) -> dict[str, float]:
    """Return inferences a second, and microseconds of processor time an inference: the best."""
    wall, cpu = float("inf"), float("inf")
    for _ in range(REPEATS):
        start, spent = time.perf_counter(), cpu_seconds()
        predict(x)
        wall = min(wall, time.perf_counter() - start)
        cpu = min(cpu, cpu_seconds() - spent)
    return {"per_second": len(x) / wall, "cpu_us": cpu / len(x) * 1e6}


def main() -> None:
    """Measure one contender."""
    name, model, referee, *batches = sys.argv[1:]
    with np.load(referee) as arrays:
        output, logits = arrays["output"], arrays["logits"]
        x = np.asarray(arrays["input"], np.float32)
    said = sys.stdout
    path = Path(model).resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        os.environ["XDG_CACHE_HOME"] = folder  # nothing is compiled already
        os.environ.pop("FASTML_CACHE", None)
        os.chdir(folder)
        predict, before = CONTENDERS[name](path)
        predict(x[:1])
        print(json.dumps({"first_cpu_s": cpu_seconds()}), file=said, flush=True)
        expected = logits if before is predict else output
        found = np.asarray(predict(x)).reshape(expected.shape)
        result: dict[str, Any] = {
            "frames": len(x),
            "error": float(np.abs(found - expected).max()),
            "same_class": int((found.argmax(1) == expected.argmax(1)).sum()),
            "rates": {},
        }
        if before is not None:
            found = np.asarray(before(x)).reshape(logits.shape)
            result["logits_equal"] = int((found == logits).all(axis=1).sum())
        for batch in map(int, batches):
            tiled = np.tile(x, (-(-batch // len(x)), 1))[:batch]
            result["rates"][str(batch)] = measure(predict, tiled)
    print(json.dumps(result), file=said, flush=True)


if __name__ == "__main__":
    main()
