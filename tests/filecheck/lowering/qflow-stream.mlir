// RUN: %fastml-opt %s -p "qflow-stream" | %filecheck %s
// RUN: %fastml-opt %s -p "qflow-stream{cluster=stage}" | %filecheck %s --check-prefix STAGE
// RUN: %fastml-opt %s -p "qflow-stream{input-beats=2 output-beats=2}" | %filecheck %s --check-prefix BEATS

// Neighbours fire together: two FIFOs for the ports, none within.
// CHECK-LABEL: qflow.graph @parallel ["x"] -> ["y"] {
// CHECK-NEXT: ^bb0([[X:%.*]]: !qflow.channel<rv, 2, "2 x 0..3">):
// CHECK-NEXT:   [[F:%.*]] = qflow.fifo "x.fifo"([[X]]) depth 2 : !qflow.channel<rv, 2, "2 x 0..3"> -> !qflow.channel<rv, 2, "2 x 0..3">
// CHECK-NEXT:   [[H:%.*]] = qflow.rearrange "h"([[F]])
// CHECK-NEXT:   [[Y:%.*]] = qflow.multiply "y"([[H]], [[F]]) : !qflow.channel<pulse, 2, "2 x 0..3">, !qflow.channel<rv, 2, "2 x 0..3"> ->
// CHECK-NEXT:   [[G:%.*]] = qflow.fifo "y.fifo"([[Y]]) depth 2 :
// CHECK-NEXT:   qflow.yield [[G]] : !qflow.channel<rv, 2, "2 x 0..9">

// Each stage by itself: an input with two readers is copied by a process of its own.
// STAGE-LABEL: qflow.graph @parallel
// STAGE-NEXT: ^bb0([[X:%.*]]: !qflow.channel<rv, 2, "2 x 0..3">):
// STAGE-NEXT:   [[F:%.*]] = qflow.fifo "x.fifo"([[X]]) depth 2
// STAGE-NEXT:   [[C:%.*]] = qflow.rearrange "x:copy"([[F]]) {index = #fastml.array<"i64 2 : 0 1">, architecture = #qflow.parallel}
// STAGE-NEXT:   [[F1:%.*]] = qflow.fifo "x.fifo.h"([[C]])
// STAGE-NEXT:   [[F2:%.*]] = qflow.fifo "x.fifo.y"([[C]])
// STAGE-NEXT:   [[H:%.*]] = qflow.rearrange "h"([[F1]])
// STAGE-NEXT:   [[F3:%.*]] = qflow.fifo "h.fifo"([[H]])
// STAGE-NEXT:   [[Y:%.*]] = qflow.multiply "y"([[F3]], [[F2]])
// STAGE-NEXT:   [[G:%.*]] = qflow.fifo "y.fifo"([[Y]])
// STAGE-NEXT:   qflow.yield [[G]]

// Beats are gathered behind the input's FIFO and sent before the output's.
// BEATS-LABEL: qflow.graph @parallel
// BEATS-NEXT: ^bb0([[X:%.*]]: !qflow.channel<rv, 1, "0..3", 2>):
// BEATS-NEXT:   [[F:%.*]] = qflow.fifo "x.fifo"([[X]])
// BEATS-NEXT:   [[D:%.*]] = qflow.deserialise "x:frame"([[F]]) : !qflow.channel<rv, 1, "0..3", 2> -> !qflow.channel<pulse, 2, "2 x 0..3">
// BEATS-NEXT:   [[W:%.*]] = qflow.fifo "x:frame.fifo"([[D]])
// BEATS-NEXT:   [[H:%.*]] = qflow.rearrange "h"([[W]])
// BEATS-NEXT:   [[Y:%.*]] = qflow.multiply "y"([[H]], [[W]])
// BEATS-NEXT:   [[V:%.*]] = qflow.fifo "y.fifo"([[Y]])
// BEATS-NEXT:   [[S:%.*]] = qflow.serialise "y:beats"([[V]]) : !qflow.channel<rv, 2, "2 x 0..9"> -> !qflow.channel<pulse, 1, "0..9", 2>
// BEATS-NEXT:   [[G:%.*]] = qflow.fifo "y:beats.fifo"([[S]])
// BEATS-NEXT:   qflow.yield [[G]]
qflow.graph @parallel ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..3">):
  %h = qflow.rearrange "h"(%x) {index = #fastml.array<"i64 2 : 1 0">} : (!qflow.channel<pulse, 2, "2 x 0..3">) -> !qflow.channel<pulse, 2, "2 x 0..3">
  %y = qflow.multiply "y"(%h, %x) : !qflow.channel<pulse, 2, "2 x 0..3">, !qflow.channel<pulse, 2, "2 x 0..3"> -> !qflow.channel<pulse, 2, "2 x 0..9">
  qflow.yield %y : !qflow.channel<pulse, 2, "2 x 0..9">
}

// A folded stage is a process with the elementwise stages behind it; the join of the edge
// around it is not one of them. An output that is read inside has a FIFO for each.
// CHECK-LABEL: qflow.graph @folded ["x"] -> ["y", "t"] {
// CHECK-NEXT: ^bb0([[X:%.*]]: {{.*}}):
// CHECK-NEXT:   [[F:%.*]] = qflow.fifo "x.fifo"([[X]])
// CHECK-NEXT:   [[C:%.*]] = qflow.rearrange "x:copy"([[F]])
// CHECK-NEXT:   [[F1:%.*]] = qflow.fifo "x.fifo.t"([[C]])
// CHECK-NEXT:   [[F2:%.*]] = qflow.fifo "x.fifo.y"([[C]])
// CHECK-NEXT:   [[D:%.*]] = qflow.dense "d"([[F1]])
// CHECK-NEXT:   [[T:%.*]] = qflow.rescale "t"([[D]])
// CHECK-NEXT:   [[F3:%.*]] = qflow.fifo "t.fifo.y"([[T]])
// CHECK-NEXT:   [[F4:%.*]] = qflow.fifo "t.fifo.t"([[T]])
// CHECK-NEXT:   [[Y:%.*]] = qflow.multiply "y"([[F3]], [[F2]])
// CHECK-NEXT:   [[G:%.*]] = qflow.fifo "y.fifo"([[Y]])
// CHECK-NEXT:   qflow.yield [[G]], [[F4]]
qflow.graph @folded ["x"] -> ["y", "t"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..3">):
  %d = qflow.dense "d"(%x) {matrix = #fastml.array<"i64 2x2 : 1 2 3 1">, bias = #fastml.array<"i64 2 : 0 0">, architecture = #qflow.folded<4>} : !qflow.channel<pulse, 2, "2 x 0..3"> -> !qflow.channel<pulse, 2, "0..12, 0..9">
  %t = qflow.rescale "t"(%d) floor {offset = #fastml.array<"i64 2 : 0 0">, shift = #fastml.array<"i64 2 : 1 1">, low = #fastml.array<"i64 2 : 0 0">, high = #fastml.array<"i64 2 : 9 9">} : !qflow.channel<pulse, 2, "0..12, 0..9"> -> !qflow.channel<pulse, 2, "0..6, 0..4">
  %y = qflow.multiply "y"(%t, %x) : !qflow.channel<pulse, 2, "0..6, 0..4">, !qflow.channel<pulse, 2, "2 x 0..3"> -> !qflow.channel<pulse, 2, "0..18, 0..12">
  qflow.yield %y, %t : !qflow.channel<pulse, 2, "0..18, 0..12">, !qflow.channel<pulse, 2, "0..6, 0..4">
}

// What lies on both sides of a folded stage cannot fire with itself: y is a process apart
// from a, although both are parallel and joined by an edge.
// CHECK-LABEL: qflow.graph @around
// CHECK:        qflow.rearrange "a"
// CHECK-NEXT:   qflow.fifo "a.fifo.d"
// CHECK-NEXT:   qflow.fifo "a.fifo.y"
// CHECK-NEXT:   qflow.dense "d"
// CHECK-NEXT:   qflow.fifo "d.fifo"
// CHECK-NEXT:   qflow.multiply "y"
qflow.graph @around ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..3">):
  %a = qflow.rearrange "a"(%x) {index = #fastml.array<"i64 2 : 0 1">} : (!qflow.channel<pulse, 2, "2 x 0..3">) -> !qflow.channel<pulse, 2, "2 x 0..3">
  %d = qflow.dense "d"(%a) {matrix = #fastml.array<"i64 2x2 : 5 0 0 5">, bias = #fastml.array<"i64 2 : 0 0">, architecture = #qflow.folded<1>} : !qflow.channel<pulse, 2, "2 x 0..3"> -> !qflow.channel<pulse, 2, "2 x 0..15">
  %y = qflow.multiply "y"(%d, %a) : !qflow.channel<pulse, 2, "2 x 0..15">, !qflow.channel<pulse, 2, "2 x 0..3"> -> !qflow.channel<pulse, 2, "2 x 0..45">
  qflow.yield %y : !qflow.channel<pulse, 2, "2 x 0..45">
}

// A parallel matrix behind a folded stage need not wait for as long as that: it is a process.
// CHECK-LABEL: qflow.graph @matrices
// CHECK:        qflow.dense "d"
// CHECK-NEXT:   qflow.fifo "d.fifo"
// CHECK-NEXT:   qflow.dense "e"
// CHECK-NEXT:   qflow.rearrange "y"
// CHECK-NEXT:   qflow.fifo "y.fifo"
qflow.graph @matrices ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..3">):
  %d = qflow.dense "d"(%x) {matrix = #fastml.array<"i64 2x2 : 5 0 0 5">, bias = #fastml.array<"i64 2 : 0 0">, architecture = #qflow.folded<2>} : !qflow.channel<pulse, 2, "2 x 0..3"> -> !qflow.channel<pulse, 2, "2 x 0..15">
  %e = qflow.dense "e"(%d) {matrix = #fastml.array<"i64 2x2 : 1 0 0 2">, bias = #fastml.array<"i64 2 : 0 0">} : !qflow.channel<pulse, 2, "2 x 0..15"> -> !qflow.channel<pulse, 2, "0..15, 0..30">
  %y = qflow.rearrange "y"(%e) {index = #fastml.array<"i64 2 : 1 0">} : (!qflow.channel<pulse, 2, "0..15, 0..30">) -> !qflow.channel<pulse, 2, "0..30, 0..15">
  qflow.yield %y : !qflow.channel<pulse, 2, "0..30, 0..15">
}
