// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p "qflow-solve,qflow-schedule{clock-ns=0.5}" | %filecheck %s
// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p "qflow-schedule{target=vacuum}" | %filecheck %s --check-prefix TARGET
// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p "qflow-solve,qflow-to-affine" | %filecheck %s --check-prefix UNSCHEDULED

// CHECK: error[FML-TARGET] {{.*}}'qflow.dense': edge 'y' has an operation of 0.{{[0-9]+}} ns, but a clock period leaves 0.300 ns; fix: use a clock period of at least 0.{{[0-9]+}} ns
// TARGET: error[FML-TARGET] {{.*}}unknown target 'vacuum'; fix: one of generic
// UNSCHEDULED: error[FML-NO-SCHEDULE] {{.*}}'qflow.dense': the stage has no schedule
qflow.graph @fast ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x -128..127">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 2x1 : 1 1">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 2, "2 x -128..127"> -> !qflow.channel<pulse, 1, "-256..254">
  qflow.yield %y : !qflow.channel<pulse, 1, "-256..254">
}
