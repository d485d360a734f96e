// RUN: %fastml-opt %s -p qflow-solve | %filecheck %s

// One adder graph for both positions: 3 * a + b, with the bias; stages become parallel.
// CHECK-LABEL: qflow.graph @dense
// CHECK:         qflow.dense "y"{{.*}}architecture = #qflow.parallel, graph = #qflow.adder_graph<
// CHECK-NOT:     cycles
qflow.graph @dense ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 4, "4 x 0..3">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 2x1 : 3 1">, bias = #fastml.array<"i64 1 : 5">} : !qflow.channel<pulse, 4, "4 x 0..3"> -> !qflow.channel<pulse, 2, "2 x 5..17">
  qflow.yield %y : !qflow.channel<pulse, 2, "2 x 5..17">
}

// The elements of a join share no adder: with two operands of two elements, element 0 adds
// inputs 0 and 2, element 1 inputs 1 and 3.
// CHECK-LABEL: qflow.graph @combine
// CHECK:         graph = #qflow.adder_graph<#fastml.array<"i64 2 : 0 1">, #fastml.array<"i64 2 : 2 3">
qflow.graph @combine ["x", "z"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..3">, %z: !qflow.channel<pulse, 2, "2 x 0..3">):
  %y = qflow.combine "y"(%x, %z) {coefficients = #fastml.array<"i64 2x2 : 1 1 1 1">, bias = #fastml.array<"i64 2 : 0 0">} : (!qflow.channel<pulse, 2, "2 x 0..3">, !qflow.channel<pulse, 2, "2 x 0..3">) -> !qflow.channel<pulse, 2, "2 x 0..6">
  qflow.yield %y : !qflow.channel<pulse, 2, "2 x 0..6">
}

// A stage that is to be folded has no adder graph; wires are parallel.
// CHECK-LABEL: qflow.graph @folded
// CHECK:         qflow.dense "y"({{.*}}) {matrix = {{[^}]*}}architecture = #qflow.folded<2>} :
// CHECK-NEXT:    qflow.rearrange "z"({{.*}}) {index = {{[^}]*}}architecture = #qflow.parallel} :
qflow.graph @folded ["x"] -> ["z"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..3">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 2x1 : 3 1">, bias = #fastml.array<"i64 1 : 0">, architecture = #qflow.folded<2>} : !qflow.channel<pulse, 2, "2 x 0..3"> -> !qflow.channel<pulse, 1, "0..12">
  %z = qflow.rearrange "z"(%y) {index = #fastml.array<"i64 1 : 0">} : (!qflow.channel<pulse, 1, "0..12">) -> !qflow.channel<pulse, 1, "0..12">
  qflow.yield %z : !qflow.channel<pulse, 1, "0..12">
}
