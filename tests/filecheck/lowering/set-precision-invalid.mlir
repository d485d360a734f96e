// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p "set-precision{default=\"fixed<8,2>\"}" | %filecheck %s
// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p "set-precision{default=\"fixed<8,4>\" of=\"z=fixed<8,4>\"}" | %filecheck %s --check-prefix NAME
// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p "set-precision{default=\"fixed<0,4>\"}" | %filecheck %s --check-prefix WIDTH

// CHECK: error[FML-RANGE] {{.*}}'m.weight' does not fit: 2.5 is beyond fixed<8,2,trn,wrap>; fix: give 'm.weight' more integer bits
// NAME: error[FML-USAGE] {{.*}}'z' is no input, layer, weight or bias
// WIDTH: error[FML-USAGE] {{.*}}the width must be in 1..1024, got 0
fastml.network @weight ["x"] -> ["m"] {
^bb0(%x: tensor<1x1xf32>):
  %w = fastml.constant <"f32 1x1 : 2.5"> : tensor<1x1xf32>
  %m = fastml.matmul "m"(%x, %w) : tensor<1x1xf32>, tensor<1x1xf32> -> tensor<1x1xf32>
  fastml.output %m : tensor<1x1xf32>
}

// -----

// CHECK: error[FML-OPTION] {{.*}}the model quantises edge 'q' itself
fastml.network @quantised ["x"] -> ["q"] {
^bb0(%x: tensor<1x1xf32>):
  %q = fastml.quantise "q"(%x) half_even -8 to 7 : tensor<1x1xf32> -> tensor<1x1x!fastml.fixed<s4, 0>>
  fastml.output %q : tensor<1x1x!fastml.fixed<s4, 0>>
}
