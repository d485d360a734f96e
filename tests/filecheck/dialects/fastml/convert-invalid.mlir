// RUN: %fastml-opt %s --split-input-file --verify-diagnostics | %filecheck %s

// CHECK: 'up' is none of rnd, rnd_zero, rnd_min_inf, rnd_inf, rnd_conv, trn, trn_zero
fastml.network @rounding ["x"] -> ["y"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s12, 6>>):
  %y = fastml.convert "y"(%x) "up" "sat" : tensor<1x2x!fastml.fixed<s12, 6>> -> tensor<1x2x!fastml.fixed<u5, 2>>
  fastml.output %y : tensor<1x2x!fastml.fixed<u5, 2>>
}

// -----

// CHECK: 'trn' is none of sat, sat_zero, sat_sym, wrap
fastml.network @overflow ["x"] -> ["y"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s12, 6>>):
  %y = fastml.convert "y"(%x) "trn" "trn" : tensor<1x2x!fastml.fixed<s12, 6>> -> tensor<1x2x!fastml.fixed<u5, 2>>
  fastml.output %y : tensor<1x2x!fastml.fixed<u5, 2>>
}

// -----

// CHECK: operand and result must be of fixed types
fastml.network @real ["x"] -> ["y"] {
^bb0(%x: tensor<1x2xf32>):
  %y = fastml.convert "y"(%x) "trn" "sat" : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<u5, 2>>
  fastml.output %y : tensor<1x2x!fastml.fixed<u5, 2>>
}

// -----

// CHECK: shapes differ
fastml.network @shape ["x"] -> ["y"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s12, 6>>):
  %y = fastml.convert "y"(%x) "trn" "sat" : tensor<1x2x!fastml.fixed<s12, 6>> -> tensor<1x3x!fastml.fixed<u5, 2>>
  fastml.output %y : tensor<1x3x!fastml.fixed<u5, 2>>
}
