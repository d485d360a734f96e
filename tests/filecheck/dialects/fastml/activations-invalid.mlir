// RUN: %fastml-opt %s --split-input-file --parsing-diagnostics --verify-diagnostics | %filecheck %s

// CHECK: needs 2 operands
fastml.network @slope ["x"] -> [] {
^bb0(%x: tensor<1xf32>):
  %y = fastml.prelu "y"(%x) : (tensor<1xf32>) -> tensor<1xf32>
  fastml.output
}

// -----

// CHECK: needs 1 operands
fastml.network @round ["x"] -> [] {
^bb0(%x: tensor<1xf32>):
  %y = fastml.round "y"(%x, %x) : (tensor<1xf32>, tensor<1xf32>) -> tensor<1xf32>
  fastml.output
}

// -----

// CHECK: operands do not broadcast
fastml.network @greater ["x", "z"] -> [] {
^bb0(%x: tensor<1x2xf32>, %z: tensor<1x3xf32>):
  %y = fastml.max "y"(%x, %z) : (tensor<1x2xf32>, tensor<1x3xf32>) -> tensor<1x2xf32>
  fastml.output
}

// -----

// CHECK: the result must have shape (1, 2)
fastml.network @lesser ["x"] -> [] {
^bb0(%x: tensor<1x2xf32>):
  %y = fastml.min "y"(%x, %x) : (tensor<1x2xf32>, tensor<1x2xf32>) -> tensor<1x3xf32>
  fastml.output
}
