// RUN: %fastml-opt %s -p "qflow-solve,qflow-schedule{clock-ns=1.0}" | %filecheck %s
// RUN: %fastml-opt %s -p "qflow-solve,qflow-schedule{clock-ns=0}" | %filecheck %s --check-prefix COMB

// Two adders do not fit into 1.0 ns with the register: the second starts in cycle 1.
// CHECK-LABEL: qflow.graph @chain ["x"] -> ["z"] latency 1 ii 1 {
// CHECK:         qflow.dense "y"{{.*}}node_cycles = #fastml.array<"i64 1 : 0">, cycles = #fastml.array<"i64 1 : 0">}
// CHECK-NEXT:    qflow.dense "z"{{.*}}node_cycles = #fastml.array<"i64 1 : 1">, cycles = #fastml.array<"i64 1 : 1">}
// COMB-LABEL:  qflow.graph @chain ["x"] -> ["z"] latency 0 ii 1 {
qflow.graph @chain ["x"] -> ["z"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x -128..127">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 2x1 : 1 1">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 2, "2 x -128..127"> -> !qflow.channel<pulse, 1, "-256..254">
  %z = qflow.dense "z"(%y) {matrix = #fastml.array<"i64 1x1 : 3">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 1, "-256..254"> -> !qflow.channel<pulse, 1, "-768..762">
  qflow.yield %z : !qflow.channel<pulse, 1, "-768..762">
}

// A join starts with the later of its operands; wires and constants take no time.
// CHECK-LABEL: qflow.graph @join
// CHECK:         qflow.rearrange "w"{{.*}}cycles = #fastml.array<"i64 2 : 0 0">}
// CHECK:         qflow.combine "s"{{.*}}cycles = #fastml.array<"i64 2 : 1 0">}
qflow.graph @join ["x"] -> ["s"] {
^bb0(%x: !qflow.channel<pulse, 2, "-128..127, 5..5">):
  %w = qflow.rearrange "w"(%x) {index = #fastml.array<"i64 2 : 0 1">} : (!qflow.channel<pulse, 2, "-128..127, 5..5">) -> !qflow.channel<pulse, 2, "-128..127, 5..5">
  %m = qflow.combine "m"(%w) {coefficients = #fastml.array<"i64 1x2 : 5 1">, bias = #fastml.array<"i64 2 : 0 0">} : (!qflow.channel<pulse, 2, "-128..127, 5..5">) -> !qflow.channel<pulse, 2, "-640..635, 5..5">
  %s = qflow.combine "s"(%m, %x) {coefficients = #fastml.array<"i64 2x2 : 1 1 2 1">, bias = #fastml.array<"i64 2 : 0 0">} : (!qflow.channel<pulse, 2, "-640..635, 5..5">, !qflow.channel<pulse, 2, "-128..127, 5..5">) -> !qflow.channel<pulse, 2, "-896..889, 10..10">
  qflow.yield %s : !qflow.channel<pulse, 2, "-896..889, 10..10">
}
