// RUN: %fastml-opt %s --split-input-file --parsing-diagnostics --verify-diagnostics | %filecheck %s

// CHECK: size must be 2 integers
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 1 : 4">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: an image of 2x3 is no frame of 4 beats
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 3">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: an image of -2x-2 is no frame of 4 beats
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : -2 -2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: fill must be 1 integers
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 2 : 0 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: rows must be integers: outputs x taps
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2 : 0 1">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: cols must be integers: outputs x taps
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: rows must be within 0..1, or -1
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 2">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: cols must be within 0..1, or -1
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2x1 : 0 -2">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: rows name no token at all
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 1x1 : -1">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: cols name no token at all
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 1x1 : -1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: rows must rise along a window and not fall from one to the next
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 1 0">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: rows must rise along a window and not fall from one to the next
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 1x2 : 0 0">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: cols of a window wider than 1 must lie on a line
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 1x2 : 1 0">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: the result has 4 beats of 1 elements
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 2>

// -----

// CHECK: the result has 4 beats of 1 elements
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 2, "2 x 0..3", 4>

// -----

// CHECK: element 0 of the result ranges over -1..3, its type says 0..3
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : -1 0">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : -1">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: only a FIFO gives a channel of 'rv'
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.window "y"(%x) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2x1 : 0 1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<rv, 1, "0..3", 4>

// -----

// CHECK: fill must be 1 integers
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reorder "y"(%x) {index = #fastml.array<"i64 4 : 0 1 2 3">, fill = #fastml.array<"i64 0 : ">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: index must be integers, one for each token of the result
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reorder "y"(%x) {index = #fastml.array<"i64 1x1 : 0">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: index must be within 0..3, or -1
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reorder "y"(%x) {index = #fastml.array<"i64 1 : 4">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: index names no token at all
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reorder "y"(%x) {index = #fastml.array<"i64 1 : -1">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: the result has 2 beats like those of the operand
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reorder "y"(%x) {index = #fastml.array<"i64 2 : 3 0">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: element 0 of the result ranges over 0..9, its type says 0..3
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reorder "y"(%x) {index = #fastml.array<"i64 4 : 0 -1 1 2">, fill = #fastml.array<"i64 1 : 9">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>

// -----

// CHECK: unknown kind 'mean'
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reduce "y"(%x) {kind = "mean", count = #builtin.int<2>} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..6", 2>

// -----

// CHECK: 4 beats cannot be reduced 3 at a time
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reduce "y"(%x) {kind = "sum", count = #builtin.int<3>} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..6", 2>

// -----

// CHECK: 4 beats cannot be reduced 0 at a time
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reduce "y"(%x) {kind = "sum", count = #builtin.int<0>} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..6", 2>

// -----

// CHECK: the result has 2 beats like those of the operand
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reduce "y"(%x) {kind = "sum", count = #builtin.int<2>} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..6", 4>

// -----

// CHECK: element 0 of the result ranges over 0..3, its type says 0..6
%x = "test.op"() : () -> !qflow.channel<rv, 1, "0..3", 4>
%y = qflow.reduce "y"(%x) {kind = "max", count = #builtin.int<2>} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..6", 2>

// -----

// CHECK: 'w' must be fed by a FIFO
qflow.graph @bad ["x"] -> [] {
^bb0(%x: !qflow.channel<rv, 1, "0..3", 4>):
  %f = qflow.fifo "f"(%x) depth 2 : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<rv, 1, "0..3", 4>
  %m = qflow.rearrange "m"(%f) {index = #fastml.array<"i64 1 : 0">} : (!qflow.channel<rv, 1, "0..3", 4>) -> !qflow.channel<pulse, 1, "0..3", 4>
  %y = qflow.reorder "w"(%m) {index = #fastml.array<"i64 4 : 0 1 2 3">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>
  qflow.yield
}

// -----

// CHECK: 'w' must feed FIFOs only
qflow.graph @bad ["x"] -> ["z"] {
^bb0(%x: !qflow.channel<rv, 1, "0..3", 4>):
  %f = qflow.fifo "f"(%x) depth 2 : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<rv, 1, "0..3", 4>
  %y = qflow.reorder "w"(%f) {index = #fastml.array<"i64 4 : 0 1 2 3">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>
  %m = qflow.multiply "m"(%y, %y) : !qflow.channel<pulse, 1, "0..3", 4>, !qflow.channel<pulse, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..9", 4>
  %z = qflow.fifo "z"(%m) depth 2 : !qflow.channel<pulse, 1, "0..9", 4> -> !qflow.channel<rv, 1, "0..9", 4>
  qflow.yield %z : !qflow.channel<rv, 1, "0..9", 4>
}
