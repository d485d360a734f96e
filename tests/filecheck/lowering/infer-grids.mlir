// RUN: %fastml-opt %s --split-input-file -p infer-grids | %filecheck %s
// RUN: %fastml-opt %s --split-input-file -p infer-grids | %fastml-opt --split-input-file -p infer-grids | %filecheck %s

// An fp32 function of a bipolar edge takes two values: 0 and 1.
// CHECK-LABEL: fastml.network @affine_of_bipolar
fastml.network @affine_of_bipolar ["x"] -> ["y"] {
^bb0(%x: tensor<1x2x!fastml.bipolar<#fastml.array<"f32 scalar : 1.0">>>):
  %one = fastml.constant <"f32 scalar : 1.0"> : tensor<f32>
  %two = fastml.constant <"f32 scalar : 2.0"> : tensor<f32>
  %w = fastml.constant <"i64 2x1 : 1 -1"> : tensor<2x1x!fastml.fixed<s2, 0>>
  %a = fastml.add "a"(%x, %one) : (tensor<1x2x!fastml.bipolar<#fastml.array<"f32 scalar : 1.0">>>, tensor<f32>) -> tensor<1x2xf32>
  // CHECK: [[HALF:%.*]] = fastml.div "h"
  %h = fastml.div "h"(%a, %two) : (tensor<1x2xf32>, tensor<f32>) -> tensor<1x2xf32>
  // CHECK-NEXT: [[CAST:%.*]] = fastml.exact_cast "h/grid"([[HALF]]) : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<u1, 0>>
  // CHECK-NEXT: fastml.matmul "y"([[CAST]], %{{.*}}) : {{.*}} -> tensor<1x1x!fastml.fixed<s2, 0>>
  %y = fastml.matmul "y"(%h, %w) : tensor<1x2xf32>, tensor<2x1x!fastml.fixed<s2, 0>> -> tensor<1x1xf32>
  fastml.output %y : tensor<1x1xf32>
}

// -----

// One cast serves all readers, through index maps; types follow downstream.
// CHECK-LABEL: fastml.network @shared
fastml.network @shared ["x"] -> ["z"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s3, 1>>):
  %c = fastml.constant <"f32 2 : 0.5 -1.5"> : tensor<2xf32>
  %w = fastml.constant <"i64 2x2 : 1 -1 2 3"> : tensor<2x2x!fastml.fixed<s3, 0>>
  %a = fastml.mul "a"(%x, %c) : (tensor<1x2x!fastml.fixed<s3, 1>>, tensor<2xf32>) -> tensor<1x2xf32>
  // CHECK: [[SWAP:%.*]] = fastml.rearrange "r"
  %r = fastml.rearrange "r"(%a) by <"i64 2 : 1 0"> : (tensor<1x2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: [[CAST:%.*]] = fastml.exact_cast "r/grid"([[SWAP]]) : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s5, 2>>
  // CHECK-NEXT: [[PRODUCT:%.*]] = fastml.matmul "m"([[CAST]]
  %m = fastml.matmul "m"(%r, %w) : tensor<1x2xf32>, tensor<2x2x!fastml.fixed<s3, 0>> -> tensor<1x2xf32>
  // CHECK-NEXT: [[BACK:%.*]] = fastml.rearrange "t"([[PRODUCT]]) by {{.*}} -> tensor<1x2x!fastml.fixed<[[WIDE:s[0-9]+, 2]]>>
  %t = fastml.rearrange "t"(%m) by <"i64 2 : 1 0"> : (tensor<1x2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: fastml.sum "s"([[BACK]], [[CAST]]) [1, -1]
  %s = fastml.sum "s"(%t, %r) [1, -1] : (tensor<1x2xf32>, tensor<1x2xf32>) -> tensor<1x2xf32>
  %z = fastml.quantise "z"(%s) floor 0 to 3 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<u2, 0>>
  fastml.output %z : tensor<1x2x!fastml.fixed<u2, 0>>
}

// -----

// What follows the last integer is the host's: a sum of fp32 numbers is fp32.
// CHECK-LABEL: fastml.network @epilogue
fastml.network @epilogue ["x"] -> ["d"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s30, 1>>):
  %c = fastml.constant <"f32 scalar : 0.3"> : tensor<f32>
  %a = fastml.mul "a"(%x, %c) : (tensor<1x2x!fastml.fixed<s30, 1>>, tensor<f32>) -> tensor<1x2xf32>
  // CHECK: [[SUM:%.*]] = fastml.add "b"
  %b = fastml.sum "b"(%a, %x) [1, 1] : (tensor<1x2xf32>, tensor<1x2x!fastml.fixed<s30, 1>>) -> tensor<1x2xf32>
  // CHECK: [[MINUS:%.*]] = fastml.constant <"f32 scalar : -1.0">
  // CHECK-NEXT: [[NEGATED:%.*]] = fastml.mul "d/negated"([[SUM]], [[MINUS]])
  // CHECK-NEXT: [[FIRST:%.*]] = fastml.sub "d/sum"([[NEGATED]], %{{.*}})
  // CHECK-NEXT: fastml.add "d"([[FIRST]], [[SUM]])
  %d = fastml.sum "d"(%b, %a, %b) [-1, -1, 1] : (tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>) -> tensor<1x2xf32>
  fastml.output %d : tensor<1x2xf32>
}

// -----

// What comes before the first integer is the host's, too.
// CHECK-LABEL: fastml.network @prologue
fastml.network @prologue ["x", "y"] -> ["q"] {
^bb0(%x: tensor<1x2xf32>, %y: tensor<1x2xf32>):
  // CHECK: fastml.mul "p"
  %p = fastml.product "p"(%x, %y) : tensor<1x2xf32>, tensor<1x2xf32> -> tensor<1x2xf32>
  %q = fastml.quantise "q"(%p) half_even -8 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s4, 1>>
  fastml.output %q : tensor<1x2x!fastml.fixed<s4, 1>>
}

// -----

// A narrow quantiser does not reach the end of its type.
// CHECK-LABEL: fastml.network @narrow
fastml.network @narrow ["x"] -> ["m"] {
^bb0(%x: tensor<1x2xf32>):
  %q = fastml.quantise "q"(%x) half_even 0 to 2 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s4, 1>>
  %w = fastml.constant <"i64 2x1 : 1 1"> : tensor<2x1x!fastml.fixed<s2, 0>>
  %r = fastml.relu "r"(%q) : (tensor<1x2x!fastml.fixed<s4, 1>>) -> tensor<1x2xf32>
  // CHECK: fastml.exact_cast "r/grid"(%{{.*}}) : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<u2, 1>>
  %m = fastml.matmul "m"(%r, %w) : tensor<1x2xf32>, tensor<2x1x!fastml.fixed<s2, 0>> -> tensor<1x1xf32>
  fastml.output %m : tensor<1x1xf32>
}
