// RUN: %fastml-opt %s | %filecheck %s
// RUN: %fastml-opt %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %filecheck %s --check-prefix GENERIC

// Images of 2x3 tokens of two elements: a padded window that moves two columns at a time, another
// order with a constant in it, a sum of each two tokens, and those sent in halves.
// CHECK-LABEL: qflow.graph @image ["x"] -> ["y"] attributes {spare_slots} {
// GENERIC: "qflow.window"({{.*}}) <{edge = "w", size = #fastml.array<"i64 2 : 2 3">, rows = #fastml.array<"i64 2x2 : -1 0 0 1">
// GENERIC: "qflow.reorder"({{.*}}) <{edge = "r", index = #fastml.array<"i64 4 : 3 -1 0 0">, fill = #fastml.array<"i64 8 : 0 0 0 0 0 0 0 9">}>
// GENERIC: "qflow.reduce"({{.*}}) <{edge = "s", kind = "sum", count = #builtin.int<2>}>
qflow.graph @image ["x"] -> ["y"] attributes {spare_slots} {
^bb0(%x: !qflow.channel<rv, 2, "2 x 0..3", 6>):
  %f = qflow.fifo "f"(%x) depth 9 : !qflow.channel<rv, 2, "2 x 0..3", 6> -> !qflow.channel<rv, 2, "2 x 0..3", 6>
  // CHECK: %w = qflow.window "w"(%f) {size = #fastml.array<"i64 2 : 2 3">, rows = #fastml.array<"i64 2x2 : -1 0 0 1">, cols = #fastml.array<"i64 2x2 : -1 0 1 2">, fill = #fastml.array<"i64 2 : 0 -1">} : !qflow.channel<rv, 2, "2 x 0..3", 6> -> !qflow.channel<pulse, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 2 x 0..3", 4>
  %w = qflow.window "w"(%f) {size = #fastml.array<"i64 2 : 2 3">, rows = #fastml.array<"i64 2x2 : -1 0 0 1">, cols = #fastml.array<"i64 2x2 : -1 0 1 2">, fill = #fastml.array<"i64 2 : 0 -1">} : !qflow.channel<rv, 2, "2 x 0..3", 6> -> !qflow.channel<pulse, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 2 x 0..3", 4>
  %wf = qflow.fifo "w.fifo"(%w) depth 3 : !qflow.channel<pulse, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 2 x 0..3", 4> -> !qflow.channel<rv, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 2 x 0..3", 4>
  // CHECK: %r = qflow.reorder "r"(%wf) {index = #fastml.array<"i64 4 : 3 -1 0 0">, fill = #fastml.array<"i64 8 : 0 0 0 0 0 0 0 9">} : !qflow.channel<rv, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 2 x 0..3", 4> -> !qflow.channel<pulse, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 0..3, 0..9", 4>
  %r = qflow.reorder "r"(%wf) {index = #fastml.array<"i64 4 : 3 -1 0 0">, fill = #fastml.array<"i64 8 : 0 0 0 0 0 0 0 9">} : !qflow.channel<rv, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 2 x 0..3", 4> -> !qflow.channel<pulse, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 0..3, 0..9", 4>
  %rf = qflow.fifo "r.fifo"(%r) depth 3 : !qflow.channel<pulse, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 0..3, 0..9", 4> -> !qflow.channel<rv, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 0..3, 0..9", 4>
  // CHECK: %s = qflow.reduce "s"(%rf) {kind = "sum", count = #builtin.int<2>} : !qflow.channel<rv, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 0..3, 0..9", 4> -> !qflow.channel<pulse, 8, "0..6, -2..6, 0..6, -2..6, 0..6, -2..6, 0..6, 0..18", 2>
  %s = qflow.reduce "s"(%rf) {kind = "sum", count = #builtin.int<2>} : !qflow.channel<rv, 8, "0..3, -1..3, 0..3, -1..3, 0..3, -1..3, 0..3, 0..9", 4> -> !qflow.channel<pulse, 8, "0..6, -2..6, 0..6, -2..6, 0..6, -2..6, 0..6, 0..18", 2>
  %sf = qflow.fifo "s.fifo"(%s) depth 3 : !qflow.channel<pulse, 8, "0..6, -2..6, 0..6, -2..6, 0..6, -2..6, 0..6, 0..18", 2> -> !qflow.channel<rv, 8, "0..6, -2..6, 0..6, -2..6, 0..6, -2..6, 0..6, 0..18", 2>
  // CHECK: %p = qflow.serialise "p"(%sf) : !qflow.channel<rv, 8, "0..6, -2..6, 0..6, -2..6, 0..6, -2..6, 0..6, 0..18", 2> -> !qflow.channel<pulse, 4, "0..6, -2..6, 0..6, -2..18", 4>
  %p = qflow.serialise "p"(%sf) : !qflow.channel<rv, 8, "0..6, -2..6, 0..6, -2..6, 0..6, -2..6, 0..6, 0..18", 2> -> !qflow.channel<pulse, 4, "0..6, -2..6, 0..6, -2..18", 4>
  %y = qflow.fifo "p.fifo"(%p) depth 3 : !qflow.channel<pulse, 4, "0..6, -2..6, 0..6, -2..18", 4> -> !qflow.channel<rv, 4, "0..6, -2..6, 0..6, -2..18", 4>
  qflow.yield %y : !qflow.channel<rv, 4, "0..6, -2..6, 0..6, -2..18", 4>
}
