// RUN: %fastml-opt %s --split-input-file -p fastml-to-qflow | %filecheck %s

// A power-of-two scale, a bias on the accumulator's grid and a ReLU: a shift, ties to even.
// CHECK:       view = "fastml.network @view [\22x\22, \22y\22, \22q\22] -> [\22q\22]
// CHECK-LABEL: qflow.graph @shift ["x"] -> ["q"] {
// CHECK-NEXT:    ^bb0(%{{.*}}: !qflow.channel<pulse, 1x2, "2 x -8..7">):
// CHECK-NEXT:    [[ACC:%.*]] = qflow.dense "y"({{.*}}) {matrix = #fastml.array<"i64 2x2 : 1 -2 3 0">, bias = #fastml.array<"i64 2 : 0 0">} : {{.*}} -> !qflow.channel<pulse, 1x2, "-32..28, -14..16">
// CHECK-NEXT:    [[OUT:%.*]] = qflow.rescale "q"([[ACC]]) half_even {offset = #fastml.array<"i64 2 : 4 2">, shift = #fastml.array<"i64 2 : 2 2">, low = #fastml.array<"i64 2 : 0 0">, high = #fastml.array<"i64 2 : 7 4">} : {{.*}} -> !qflow.channel<pulse, 1x2, "0..7, 0..4">
// CHECK-NEXT:    qflow.yield [[OUT]]
fastml.network @shift ["x"] -> ["q"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 2>>):
  %w = fastml.constant <"i64 2x2 : 1 -2 3 0"> : tensor<2x2x!fastml.fixed<s4, 1>>
  %b = fastml.constant <"f32 2 : 0.5 0.25"> : tensor<2xf32>
  %y = fastml.matmul "y"(%x, %w) : tensor<1x2x!fastml.fixed<s4, 2>>, tensor<2x2x!fastml.fixed<s4, 1>> -> tensor<1x2x!fastml.fixed<s8, 3>>
  %a = fastml.add "a"(%y, %b) : (tensor<1x2x!fastml.fixed<s8, 3>>, tensor<2xf32>) -> tensor<1x2xf32>
  %r = fastml.relu "r"(%a) : (tensor<1x2xf32>) -> tensor<1x2xf32>
  %q = fastml.quantise "q"(%r) half_even 0 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<u3, 1>>
  fastml.output %q : tensor<1x2x!fastml.fixed<u3, 1>>
}

// -----

// Zero points of operand and weights are folded: (x - 3) * (w - 1), as x * w' + b.
// CHECK-LABEL: qflow.graph @zero_points
// CHECK:         qflow.dense "y"({{.*}}) {matrix = #fastml.array<"i64 2x1 : 4 -2">, bias = #fastml.array<"i64 1 : -6">}
fastml.network @zero_points ["x"] -> ["y"] {
^bb0(%x: tensor<1x2x!fastml.scaled<u4, #fastml.array<"f32 scalar : 0.5">, #fastml.array<"i64 scalar : 3">>>):
  %w = fastml.constant <"i64 2x1 : 5 -1"> : tensor<2x1x!fastml.scaled<s4, #fastml.array<"f32 scalar : 1.0">, #fastml.array<"i64 scalar : 1">>>
  %y = fastml.matmul "y"(%x, %w) : tensor<1x2x!fastml.scaled<u4, #fastml.array<"f32 scalar : 0.5">, #fastml.array<"i64 scalar : 3">>>, tensor<2x1x!fastml.scaled<s4, #fastml.array<"f32 scalar : 1.0">, #fastml.array<"i64 scalar : 1">>> -> tensor<1x1x!fastml.fixed<s8, 1>>
  fastml.output %y : tensor<1x1x!fastml.fixed<s8, 1>>
}

// -----

// A bipolar edge is its bit: 2 * bit - 1.
// CHECK-LABEL: qflow.graph @bipolar ["x"] -> ["y"] {
// CHECK-NEXT:    ^bb0(%{{.*}}: !qflow.channel<pulse, 1x2, "2 x 0..1">):
// CHECK-NEXT:    qflow.dense "y"({{.*}}) {matrix = #fastml.array<"i64 2x1 : 6 -4">, bias = #fastml.array<"i64 1 : -1">}
fastml.network @bipolar ["x"] -> ["y"] {
^bb0(%x: tensor<1x2x!fastml.bipolar<#fastml.array<"f32 scalar : 1.0">>>):
  %w = fastml.constant <"i64 2x1 : 3 -2"> : tensor<2x1x!fastml.fixed<s3, 0>>
  %y = fastml.matmul "y"(%x, %w) : tensor<1x2x!fastml.bipolar<#fastml.array<"f32 scalar : 1.0">>>, tensor<2x1x!fastml.fixed<s3, 0>> -> tensor<1x1x!fastml.fixed<s4, 0>>
  fastml.output %y : tensor<1x1x!fastml.fixed<s4, 0>>
}

// -----

// Few levels are compared with; a falling function counts down.
// CHECK-LABEL: qflow.graph @few_levels
// CHECK:         qflow.threshold "q"({{.*}}) {thresholds = #fastml.array<"i64 1x3 : -3 1 4">, base = #fastml.array<"i64 1 : 3">, direction = #fastml.array<"i64 1 : -1">} : {{.*}} -> !qflow.channel<pulse, 1x1, "0..3">
fastml.network @few_levels ["x"] -> ["q"] {
^bb0(%x: tensor<1x1x!fastml.fixed<s4, 0>>):
  %c = fastml.constant <"f32 scalar : -0.3"> : tensor<f32>
  %d = fastml.constant <"f32 scalar : 1.6"> : tensor<f32>
  %m = fastml.mul "m"(%x, %c) : (tensor<1x1x!fastml.fixed<s4, 0>>, tensor<f32>) -> tensor<1x1xf32>
  %a = fastml.add "a"(%m, %d) : (tensor<1x1xf32>, tensor<f32>) -> tensor<1x1xf32>
  %q = fastml.quantise "q"(%a) half_even 0 to 3 : tensor<1x1xf32> -> tensor<1x1x!fastml.fixed<u2, 0>>
  fastml.output %q : tensor<1x1x!fastml.fixed<u2, 0>>
}

// -----

// Any other scale becomes a multiplication and a shift with exactly the fp32 thresholds.
// CHECK-LABEL: qflow.graph @multiply
// CHECK:         [[PRODUCT:%.*]] = qflow.combine "q:scaled"(
// CHECK-NEXT:    qflow.rescale "q"([[PRODUCT]]) floor
fastml.network @multiply ["x"] -> ["q"] {
^bb0(%x: tensor<1x1x!fastml.fixed<s10, 0>>):
  %c = fastml.constant <"f32 scalar : 0.137"> : tensor<f32>
  %m = fastml.mul "m"(%x, %c) : (tensor<1x1x!fastml.fixed<s10, 0>>, tensor<f32>) -> tensor<1x1xf32>
  %q = fastml.quantise "q"(%m) half_even -64 to 63 : tensor<1x1xf32> -> tensor<1x1x!fastml.fixed<s7, 0>>
  fastml.output %q : tensor<1x1x!fastml.fixed<s7, 0>>
}

// -----

// What turns round is a table.
// CHECK-LABEL: qflow.graph @square
// CHECK:         qflow.lookup "q"({{.*}}) {table = #fastml.array<"i64 1x8 : 7 7 4 1 0 1 4 7">}
fastml.network @square ["x"] -> ["q"] {
^bb0(%x: tensor<1x1x!fastml.fixed<s3, 0>>):
  %c = fastml.constant <"f32 scalar : 2.0"> : tensor<f32>
  %p = fastml.pow "p"(%x, %c) : (tensor<1x1x!fastml.fixed<s3, 0>>, tensor<f32>) -> tensor<1x1xf32>
  %q = fastml.quantise "q"(%p) half_even 0 to 7 : tensor<1x1xf32> -> tensor<1x1x!fastml.fixed<u3, 0>>
  fastml.output %q : tensor<1x1x!fastml.fixed<u3, 0>>
}

// -----

// The host quantises a real input, and scales what leaves: neither is in the graph.
// CHECK:       prologue = "fastml.network @prologue [\22x\22] -> [\22q\22]
// CHECK-SAME:  fastml.quantise \22q\22
// CHECK-SAME:  view = "fastml.network @view [\22q\22, \22y\22] -> [\22out\22]
// CHECK-SAME:  fastml.mul \22out\22
// CHECK-LABEL: qflow.graph @host ["q"] -> ["y"] {
// CHECK-NEXT:    ^bb0({{.*}}: !qflow.channel<pulse, 1x2, "2 x -7..7">):
// CHECK-NEXT:    [[Y:%.*]] = qflow.dense "y"
// CHECK-NEXT:    qflow.yield [[Y]]
fastml.network @host ["x"] -> ["out"] {
^bb0(%x: tensor<1x2xf32>):
  %w = fastml.constant <"i64 2x1 : 5 -1"> : tensor<2x1x!fastml.fixed<s4, 1>>
  %c = fastml.constant <"f32 scalar : 0.3"> : tensor<f32>
  %q = fastml.quantise "q"(%x) half_even -7 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s4, 2>>
  %y = fastml.matmul "y"(%q, %w) : tensor<1x2x!fastml.fixed<s4, 2>>, tensor<2x1x!fastml.fixed<s4, 1>> -> tensor<1x1x!fastml.fixed<s8, 3>>
  %out = fastml.mul "out"(%y, %c) : (tensor<1x1x!fastml.fixed<s8, 3>>, tensor<f32>) -> tensor<1x1xf32>
  fastml.output %out : tensor<1x1xf32>
}

// -----

// A constant on the left: columns become blocks, and wires put the result in order.
// CHECK-LABEL: qflow.graph @left
// CHECK:         [[IN:%.*]] = qflow.rearrange "y:operand"({{.*}}) {index = #fastml.array<"i64 4 : 0 2 1 3">}
// CHECK-NEXT:    [[OUT:%.*]] = qflow.dense "y:0"([[IN]]) {matrix = #fastml.array<"i64 2x3 : 1 3 5 2 4 6">
// CHECK-NEXT:    qflow.rearrange "y"([[OUT]]) {index = #fastml.array<"i64 6 : 0 3 1 4 2 5">}
fastml.network @left ["x"] -> ["y"] {
^bb0(%x: tensor<2x2x!fastml.fixed<u2, 0>>):
  %w = fastml.constant <"i64 3x2 : 1 2 3 4 5 6"> : tensor<3x2x!fastml.fixed<u3, 0>>
  %y = fastml.matmul "y"(%w, %x) : tensor<3x2x!fastml.fixed<u3, 0>>, tensor<2x2x!fastml.fixed<u2, 0>> -> tensor<3x2x!fastml.fixed<u6, 0>>
  fastml.output %y : tensor<3x2x!fastml.fixed<u6, 0>>
}
