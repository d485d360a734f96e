"""Passes of the stack; nothing is imported until a pass is first used."""

from functools import partial
from pkgutil import resolve_name

PASSES = {
    name: partial(resolve_name, f"fastml.lowering.{target}")
    for name, target in {
        "set-precision": "set_precision:SetPrecision",
        "infer-grids": "infer_grids:InferGrids",
        "fastml-to-qflow": "fastml_to_qflow:FastmlToQflow",
        "qflow-choose": "qflow_choose:QflowChoose",
        "qflow-fold": "qflow_fold:QflowFold",
        "qflow-solve": "qflow_solve:QflowSolve",
        "qflow-stream": "qflow_stream:QflowStream",
        "qflow-schedule": "qflow_schedule:QflowSchedule",
        "qflow-size-fifos": "qflow_size_fifos:QflowSizeFifos",
        "qflow-to-affine": "qflow_to_affine:QflowToAffine",
        "check-schedule": "check_schedule:CheckSchedule",
        "hls-line-buffers": "hls_line_buffers:HlsLineBuffers",
        "hls-wiring": "hls_wiring:HlsWiring",
        "hls-tiling": "hls_tiling:HlsTiling",
        "affine-to-hw": "affine_to_hw:AffineToHw",
        "hw-axi-stream": "axi_top:HwAxiStream",
    }.items()
}
"""Pass name to loader."""
