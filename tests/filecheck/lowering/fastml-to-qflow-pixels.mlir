// RUN: %fastml-opt %s --split-input-file -p "fastml-to-qflow{layout=pixels}" | %filecheck %s
// RUN: %fastml-opt %s --split-input-file -p "fastml-to-qflow{layout=pixels pixels=2}" | %filecheck %s --check-prefix TWO
// RUN: %fastml-opt %s --split-input-file -p "fastml-to-qflow{layout=pixels},qflow-stream" | %filecheck %s --check-prefix FIFO

// Channels of a pixel are a beat, whatever axes the model has; a pad is the number 0.
// CHECK:         layouts = ["x", "2,3", "c", "2,3"]
// CHECK-LABEL:   qflow.graph @conv ["x"] -> ["c"] {
// CHECK-NEXT:    ^bb0([[X:%.*]]: !qflow.channel<pulse, 1x2x1x1, "2 x 0..15", 4>):
// CHECK-NEXT:    [[W:%.*]] = qflow.window "c:window"([[X]]) {size = #fastml.array<"i64 2 : 2 2">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 2x2 : -1 0 0 1">, fill = #fastml.array<"i64 2 : 7 7">} : {{.*}} -> !qflow.channel<pulse, 4, "4 x 0..15", 4>
// CHECK-NEXT:    [[C:%.*]] = qflow.dense "c"([[W]]) {matrix = #fastml.array<"i64 4x1 : 1 3 2 -1">, bias = #fastml.array<"i64 1 : -35">} : {{.*}} -> !qflow.channel<pulse, 1x1x1x1, "-50..55", 4>
// CHECK-NEXT:    qflow.yield [[C]]

// Two pixels a beat: a tap sees both pixels of two tokens, wiring finds what each one reads.
// TWO:           layouts = ["x", "2,3*2", "c", "2,3*2"]
// TWO-LABEL:     qflow.graph @conv
// TWO-NEXT:      ^bb0([[X:%.*]]: !qflow.channel<pulse, 1x2x1x2, "4 x 0..15", 2>):
// TWO-NEXT:      [[W:%.*]] = qflow.window "c:window"([[X]]) {size = #fastml.array<"i64 2 : 2 1">, rows = #fastml.array<"i64 2x1 : 0 1">, cols = #fastml.array<"i64 1x2 : -1 0">, fill = #fastml.array<"i64 4 : 7 7 7 7">}
// TWO-NEXT:      [[O:%.*]] = qflow.rearrange "c:operand"([[W]]) {index = #fastml.array<"i64 8 : 1 3 4 6 4 6 5 7">}
// TWO-NEXT:      [[C:%.*]] = qflow.dense "c"([[O]]) {matrix = #fastml.array<"i64 4x1 : 1 3 2 -1">, bias = #fastml.array<"i64 1 : -35">} : {{.*}} -> !qflow.channel<pulse, 1x1x1x2,
// TWO-NEXT:      qflow.yield [[C]]

// FIFO-LABEL:    qflow.graph @conv
// FIFO-NEXT:     ^bb0([[X:%.*]]: !qflow.channel<rv, 1x2x1x1, "2 x 0..15", 4>):
// FIFO-NEXT:     [[F:%.*]] = qflow.fifo "x.fifo"([[X]])
// FIFO-NEXT:     [[W:%.*]] = qflow.window "c:window"([[F]])
// FIFO-NEXT:     [[G:%.*]] = qflow.fifo "c:window.fifo"([[W]])
// FIFO-NEXT:     [[C:%.*]] = qflow.dense "c"([[G]])
// FIFO-NEXT:     [[H:%.*]] = qflow.fifo "c.fifo"([[C]])
// FIFO-NEXT:     qflow.yield [[H]]
fastml.network @conv ["x"] -> ["c"] {
^bb0(%x: tensor<1x2x2x2x!fastml.scaled<u4, #fastml.array<"f32 scalar : 0.5">, #fastml.array<"i64 scalar : 7">>>):
  %w = fastml.constant <"i64 1x2x1x2 : 1 2 3 -1"> : tensor<1x2x1x2x!fastml.fixed<s4, 0>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 1, 0, 0] group 1 : tensor<1x2x2x2x!fastml.scaled<u4, #fastml.array<"f32 scalar : 0.5">, #fastml.array<"i64 scalar : 7">>>, tensor<1x2x1x2x!fastml.fixed<s4, 0>> -> tensor<1x1x2x2x!fastml.fixed<s8, 1>>
  fastml.output %c : tensor<1x1x2x2x!fastml.fixed<s8, 1>>
}

// -----

// A pool needs no image that ends: its pads are the least that an element can be. A maximum of
// all pixels leaves one beat.
// CHECK-LABEL:   qflow.graph @pool
// CHECK:         qflow.window "p:window"({{.*}}) {size = #fastml.array<"i64 2 : 1 4">, rows = #fastml.array<"i64 1x1 : 0">, cols = #fastml.array<"i64 2x3 : -1 0 1 1 2 3">, fill = #fastml.array<"i64 1 : -8">}
// CHECK-NEXT:    qflow.maximum "p"({{.*}}) max {index = #fastml.array<"i64 1x3 : 0 1 2">} : {{.*}} -> !qflow.channel<pulse, 1x1x1, "-8..7", 2>
// CHECK-NEXT:    qflow.reduce "m:positions"({{.*}}) {kind = "max", count = #builtin.int<2>} : {{.*}} -> !qflow.channel<pulse, 1x1x1, "-8..7">
// CHECK-NEXT:    qflow.rearrange "m"
fastml.network @pool ["x"] -> ["m"] {
^bb0(%x: tensor<1x4x1x!fastml.fixed<s4, 0>>):
  %p = fastml.max_pool "p"(%x) kernel [3] strides [2] dilations [1] pads [1, 0] channels_last : tensor<1x4x1x!fastml.fixed<s4, 0>> -> tensor<1x2x1x!fastml.fixed<s4, 0>>
  %m = fastml.reduce "m"(%p) max over [-2] : tensor<1x2x1x!fastml.fixed<s4, 0>> -> tensor<1x1x1x!fastml.fixed<s4, 0>>
  fastml.output %m : tensor<1x1x1x!fastml.fixed<s4, 0>>
}
