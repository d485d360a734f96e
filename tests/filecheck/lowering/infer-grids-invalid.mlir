// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p infer-grids | %filecheck %s

// CHECK: error[FML-UNQUANTISED] {{.*}}: edge 'x' is not quantised: it is computed from 'x', which is not; fix: {{.*}}--input-type
fastml.network @input ["x"] -> ["m"] {
^bb0(%x: tensor<1x2xf32>):
  %w = fastml.constant <"i64 2x1 : 1 1"> : tensor<2x1x!fastml.fixed<s2, 0>>
  %m = fastml.matmul "m"(%x, %w) : tensor<1x2xf32>, tensor<2x1x!fastml.fixed<s2, 0>> -> tensor<1x1xf32>
  fastml.output %m : tensor<1x1xf32>
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: edge 'a' is not quantised: its values need 17 bits, and 16 is the most allowed
fastml.network @wide ["x"] -> ["m"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s17, 1>>):
  %w = fastml.constant <"i64 2x1 : 1 1"> : tensor<2x1x!fastml.fixed<s2, 0>>
  %c = fastml.constant <"f32 scalar : 2.0"> : tensor<f32>
  %a = fastml.mul "a"(%x, %c) : (tensor<1x2x!fastml.fixed<s17, 1>>, tensor<f32>) -> tensor<1x2xf32>
  %m = fastml.matmul "m"(%a, %w) : tensor<1x2xf32>, tensor<2x1x!fastml.fixed<s2, 0>> -> tensor<1x1xf32>
  fastml.output %m : tensor<1x1xf32>
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: edge 'a' is not quantised: its values lie on no narrow grid
fastml.network @infinite ["x"] -> ["m"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 2x1 : 1 1"> : tensor<2x1x!fastml.fixed<s2, 0>>
  %c = fastml.constant <"f32 scalar : 2.0"> : tensor<f32>
  %a = fastml.div "a"(%c, %x) : (tensor<f32>, tensor<1x2x!fastml.fixed<s4, 1>>) -> tensor<1x2xf32>
  %m = fastml.matmul "m"(%a, %w) : tensor<1x2xf32>, tensor<2x1x!fastml.fixed<s2, 0>> -> tensor<1x1xf32>
  fastml.output %m : tensor<1x1xf32>
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: edge 'a' is not quantised: edge 'x' has too many values to look at each
fastml.network @many ["x"] -> ["m"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s40, 1>>):
  %w = fastml.constant <"i64 2x1 : 1 1"> : tensor<2x1x!fastml.fixed<s2, 0>>
  %a = fastml.relu "a"(%x) : (tensor<1x2x!fastml.fixed<s40, 1>>) -> tensor<1x2xf32>
  %m = fastml.matmul "m"(%a, %w) : tensor<1x2xf32>, tensor<2x1x!fastml.fixed<s2, 0>> -> tensor<1x1xf32>
  fastml.output %m : tensor<1x1xf32>
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: edge 'b' is not quantised: it is computed from several edges
fastml.network @several ["x", "y"] -> ["q"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 1>>, %y: tensor<1x2x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 2x1 : 1 1"> : tensor<2x1x!fastml.fixed<s2, 0>>
  %b = fastml.div "b"(%x, %y) : (tensor<1x2x!fastml.fixed<s4, 1>>, tensor<1x2x!fastml.fixed<s4, 1>>) -> tensor<1x2xf32>
  %m = fastml.matmul "m"(%b, %w) : tensor<1x2xf32>, tensor<2x1x!fastml.fixed<s2, 0>> -> tensor<1x1xf32>
  fastml.output %m : tensor<1x1xf32>
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: what it quantises is an fp32 function of several edges: x and y; fix: quantise one of them first
fastml.network @quantiser_of_several ["x", "y"] -> ["q"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 1>>, %y: tensor<1x2x!fastml.fixed<s4, 1>>):
  %b = fastml.div "b"(%x, %y) : (tensor<1x2x!fastml.fixed<s4, 1>>, tensor<1x2x!fastml.fixed<s4, 1>>) -> tensor<1x2xf32>
  %q = fastml.quantise "q"(%b) floor -8 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s4, 1>>
  fastml.output %q : tensor<1x2x!fastml.fixed<s4, 1>>
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: constant of fastml.matmul is not quantised: its values lie on no narrow grid
fastml.network @weights ["x"] -> ["m"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"f32 2x1 : 0.1 0.7"> : tensor<2x1xf32>
  %m = fastml.matmul "m"(%x, %w) : tensor<1x2x!fastml.fixed<s4, 1>>, tensor<2x1xf32> -> tensor<1x1xf32>
  fastml.output %m : tensor<1x1xf32>
}

// -----

// CHECK: error[FML-GRID] {{.*}}: the scales' common step needs {{[0-9]+}} more bits, and at most 64 are allowed; fix: quantise the operands with one scale
fastml.network @steps ["x", "y"] -> ["s"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 1>>, %y: tensor<1x2x!fastml.scaled<s4, #fastml.array<"f32 scalar : 1e30">, #fastml.array<"i64 scalar : 0">>>):
  %a = fastml.relu "a"(%x) : (tensor<1x2x!fastml.fixed<s4, 1>>) -> tensor<1x2xf32>
  %s = fastml.sum "s"(%a, %y) [1, 1] : (tensor<1x2xf32>, tensor<1x2x!fastml.scaled<s4, #fastml.array<"f32 scalar : 1e30">, #fastml.array<"i64 scalar : 0">>>) -> tensor<1x2xf32>
  %q = fastml.quantise "q"(%s) floor -8 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s4, 1>>
  fastml.output %q : tensor<1x2x!fastml.fixed<s4, 1>>
}
