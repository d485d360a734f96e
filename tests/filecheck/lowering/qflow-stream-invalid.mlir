// RUN: %fastml-opt %s --verify-diagnostics -p "qflow-stream{input-beats=3}" | %filecheck %s --check-prefix INPUT
// RUN: %fastml-opt %s --verify-diagnostics -p "qflow-size-fifos{depths=\"x.fifo=2\"}" | %filecheck %s --check-prefix STATIC
// RUN: %fastml-opt %s --verify-diagnostics -p "qflow-stream,qflow-size-fifos" | %filecheck %s --check-prefix CYCLES
// RUN: %fastml-opt %s --verify-diagnostics -p "qflow-stream,qflow-schedule,qflow-size-fifos{depths=\"x.fifo=3\",\"y.fifo=1\"}" | %filecheck %s --check-prefix SLOW
// RUN: %fastml-opt %s -p "qflow-stream,qflow-schedule,qflow-size-fifos{depths=\"x.fifo=3\",\"y.fifo=1\" allow-slower=true}" | %filecheck %s --check-prefix ALLOWED

// INPUT: error[FML-USAGE] {{.*}}'x' has 2 elements, which cannot make 3 beats
// STATIC: error[FML-USAGE] {{.*}}no graph has FIFOs to give depths to
// CYCLES: error[FML-NO-SCHEDULE] {{.*}}the stage has no schedule
// SLOW: error[FML-TARGET] {{.*}}FIFO 'y.fifo' costs time: II 2 instead of 1, latency 2 instead of 2: needs depth 2, has 1
// ALLOWED: qflow.graph @g ["x"] -> ["y"] latency 2 ii 2
// ALLOWED: qflow.fifo "x.fifo"({{.*}}) depth 3
// ALLOWED: qflow.fifo "y.fifo"({{.*}}) depth 1
qflow.graph @g ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..3">):
  %y = qflow.rearrange "y"(%x) {index = #fastml.array<"i64 2 : 1 0">} : (!qflow.channel<pulse, 2, "2 x 0..3">) -> !qflow.channel<pulse, 2, "2 x 0..3">
  qflow.yield %y : !qflow.channel<pulse, 2, "2 x 0..3">
}
