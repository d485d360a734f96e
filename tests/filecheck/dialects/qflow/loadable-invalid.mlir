// RUN: %fastml-opt %s --split-input-file --parsing-diagnostics --verify-diagnostics | %filecheck %s

// CHECK: loadable weights need a range of more than one integer
"test.op"() {t = #qflow.loadable<3, 3>} : () -> ()

// -----

// CHECK: a weight is not within the loadable 0..3
qflow.graph @g ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 4">, bias = #fastml.array<"i64 1 : 0">, loadable = #qflow.loadable<0, 3>} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..3">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..3">
}

// -----

// CHECK: element 0 of the result ranges over 0..3, its type says 0..2
qflow.graph @g ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 2">, bias = #fastml.array<"i64 1 : 0">, loadable = #qflow.loadable<0, 3>} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..2">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..2">
}

// -----

// CHECK: loadable weights need a folded stage
qflow.graph @g ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 2">, bias = #fastml.array<"i64 1 : 0">, loadable = #qflow.loadable<0, 3>, architecture = #qflow.parallel} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..3">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..3">
}

// -----

// CHECK: loadable weights need multipliers, and a place for every product
qflow.graph @g ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 2">, bias = #fastml.array<"i64 1 : 0">, loadable = #qflow.loadable<0, 3>, architecture = #qflow.folded<4, non_zero 1 x 1, multiplier, logic>} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..3">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..3">
}

// -----

// CHECK: loadable weights have no adder graph
qflow.graph @g ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 1">, bias = #fastml.array<"i64 1 : 0">, loadable = #qflow.loadable<0, 3>, graph = #qflow.adder_graph<#fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">>} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..3">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..3">
}
