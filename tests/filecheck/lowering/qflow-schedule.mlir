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

// All positions start with the last of them, so that one part serves them all; a tree of
// comparators takes a round after the other, and wrapping no time.
// CHECK-LABEL: qflow.graph @positions
// CHECK:         qflow.dense "d"{{.*}}node_cycles = #fastml.array<"i64 1 : 1">, cycles = #fastml.array<"i64 2 : 1 1">}
// CHECK:         qflow.maximum "m"{{.*}}node_cycles = #fastml.array<"i64 3 : 0 0 1">, cycles = #fastml.array<"i64 2 : 1 0">}
// CHECK:         qflow.wrap "v"{{.*}}cycles = #fastml.array<"i64 2 : 1 0">}
qflow.graph @positions ["x"] -> ["d", "v"] {
^bb0(%x: !qflow.channel<pulse, 4, "4 x -128..127">):
  %c = qflow.combine "c"(%x) {coefficients = #fastml.array<"i64 1x4 : 1 1 1 5">, bias = #fastml.array<"i64 4 : 0 0 0 0">} : (!qflow.channel<pulse, 4, "4 x -128..127">) -> !qflow.channel<pulse, 4, "3 x -128..127, -640..635">
  %d = qflow.dense "d"(%c) {matrix = #fastml.array<"i64 2x1 : 1 1">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 4, "3 x -128..127, -640..635"> -> !qflow.channel<pulse, 2, "-256..254, -768..762">
  %m = qflow.maximum "m"(%x) max {index = #fastml.array<"i64 2x4 : 0 1 2 3 1 1 1 1">} : (!qflow.channel<pulse, 4, "4 x -128..127">) -> !qflow.channel<pulse, 2, "2 x -128..127">
  %v = qflow.wrap "v"(%m) {width = #fastml.array<"i64 2 : 4 4">, signed = #fastml.array<"i64 2 : 0 1">} : !qflow.channel<pulse, 2, "2 x -128..127"> -> !qflow.channel<pulse, 2, "0..15, -8..7">
  qflow.yield %d, %v : !qflow.channel<pulse, 2, "-256..254, -768..762">, !qflow.channel<pulse, 2, "0..15, -8..7">
}
