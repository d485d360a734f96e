// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p "qflow-schedule" | %filecheck %s --check-prefix TIME
// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p "qflow-stream{input-beats=2}" | %filecheck %s --check-prefix PORT
// RUN: %fastml-opt %s --split-input-file -p "qflow-stream" | %filecheck %s

// What changes beats is a process of its own, and so is what reads around it: a skip.
// TIME: error[FML-IR] {{.*}}'qflow.window': frames of several beats need FIFOs between processes; fix: run qflow-stream first
// PORT: error[FML-USAGE] {{.*}}'x' has 4 beats a frame already, and cannot be sent in 2; fix: beats are chosen for ports whose frames are one
// CHECK-LABEL: qflow.graph @skip
// CHECK:         [[X:%.*]] = qflow.fifo "x.fifo"(
// CHECK-NEXT:    [[A:%.*]] = qflow.rearrange "a"([[X]])
// CHECK-NEXT:    [[F:%.*]] = qflow.fifo "a.fifo.w"([[A]])
// CHECK-NEXT:    [[G:%.*]] = qflow.fifo "a.fifo.y"([[A]])
// CHECK-NEXT:    [[W:%.*]] = qflow.window "w"([[F]])
// CHECK-NEXT:    [[H:%.*]] = qflow.fifo "w.fifo"([[W]])
// CHECK-NEXT:    [[B:%.*]] = qflow.rearrange "b"([[H]])
// CHECK-NEXT:    [[Y:%.*]] = qflow.multiply "y"([[B]], [[G]])
// CHECK-NEXT:    [[O:%.*]] = qflow.fifo "y.fifo"([[Y]])
// CHECK-NEXT:    qflow.yield [[O]]
qflow.graph @skip ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..3", 4>):
  %a = qflow.rearrange "a"(%x) {index = #fastml.array<"i64 1 : 0">} : (!qflow.channel<pulse, 2, "2 x 0..3", 4>) -> !qflow.channel<pulse, 1, "0..3", 4>
  %w = qflow.window "w"(%a) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2x1 : 1 0">, fill = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..3", 4>
  %b = qflow.rearrange "b"(%w) {index = #fastml.array<"i64 1 : 0">} : (!qflow.channel<pulse, 1, "0..3", 4>) -> !qflow.channel<pulse, 1, "0..3", 4>
  %y = qflow.multiply "y"(%b, %a) : !qflow.channel<pulse, 1, "0..3", 4>, !qflow.channel<pulse, 1, "0..3", 4> -> !qflow.channel<pulse, 1, "0..9", 4>
  qflow.yield %y : !qflow.channel<pulse, 1, "0..9", 4>
}
