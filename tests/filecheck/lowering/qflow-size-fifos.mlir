// RUN: %fastml-opt %s -p "qflow-size-fifos" | %filecheck %s
// RUN: %fastml-opt %s --verify-diagnostics -p "qflow-size-fifos{depths=\"skip=16\"}" | %filecheck %s --check-prefix STOPS

// The branch gathers 17 beats before it sends the first, so that the edge around it must
// hold them, and those of the next frame that come while it sends.
// STOPS: error[FML-DEADLOCK] {{.*}}'qflow.fifo': nothing moves after cycle 17: FIFO 'skip' needs depth 17, has 16
// CHECK-LABEL: qflow.graph @deep ["x"] -> ["y"] latency 37 ii 17 {
// CHECK: qflow.fifo "x.fifo"({{.*}}) depth 2
// CHECK: qflow.fifo "near"({{.*}}) depth 2
// CHECK: qflow.fifo "skip"({{.*}}) depth 20
// CHECK: qflow.fifo "gathered"({{.*}}) depth 2
// CHECK: qflow.fifo "sent"({{.*}}) depth 2
// CHECK: qflow.fifo "y.fifo"({{.*}}) depth 2
qflow.graph @deep ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<rv, 1, "0..3", 17>):
  %f = qflow.fifo "x.fifo"(%x) depth 9 : !qflow.channel<rv, 1, "0..3", 17> -> !qflow.channel<rv, 1, "0..3", 17>
  %c = qflow.rearrange "copy"(%f) {index = #fastml.array<"i64 1 : 0">, cycles = #fastml.array<"i64 1 : 0">} : (!qflow.channel<rv, 1, "0..3", 17>) -> !qflow.channel<pulse, 1, "0..3", 17>
  %near = qflow.fifo "near"(%c) depth 9 : !qflow.channel<pulse, 1, "0..3", 17> -> !qflow.channel<rv, 1, "0..3", 17>
  %skip = qflow.fifo "skip"(%c) depth 9 : !qflow.channel<pulse, 1, "0..3", 17> -> !qflow.channel<rv, 1, "0..3", 17>
  %g = qflow.deserialise "gather"(%near) : !qflow.channel<rv, 1, "0..3", 17> -> !qflow.channel<pulse, 17, "17 x 0..3">
  %w = qflow.fifo "gathered"(%g) depth 9 : !qflow.channel<pulse, 17, "17 x 0..3"> -> !qflow.channel<rv, 17, "17 x 0..3">
  %s = qflow.serialise "send"(%w) : !qflow.channel<rv, 17, "17 x 0..3"> -> !qflow.channel<pulse, 1, "0..3", 17>
  %sent = qflow.fifo "sent"(%s) depth 9 : !qflow.channel<pulse, 1, "0..3", 17> -> !qflow.channel<rv, 1, "0..3", 17>
  %j = qflow.multiply "join"(%sent, %skip) {cycles = #fastml.array<"i64 1 : 0">} : !qflow.channel<rv, 1, "0..3", 17>, !qflow.channel<rv, 1, "0..3", 17> -> !qflow.channel<pulse, 1, "0..9", 17>
  %y = qflow.fifo "y.fifo"(%j) depth 9 : !qflow.channel<pulse, 1, "0..9", 17> -> !qflow.channel<rv, 1, "0..9", 17>
  qflow.yield %y : !qflow.channel<rv, 1, "0..9", 17>
}
