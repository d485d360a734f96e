// RUN: %fastml-opt %s --split-input-file -p infer-grids | %filecheck %s
// RUN: %fastml-opt %s --split-input-file -p infer-grids | %fastml-opt --split-input-file -p infer-grids | %filecheck %s

// Quantising and Relu never fall: they go before the maximum, which compares integers.
// The real edges stay for the host.
// CHECK-LABEL: fastml.network @pool
fastml.network @pool ["x"] -> ["q"] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %b = fastml.constant <"f32 2x1 : 0.3 -1.7"> : tensor<2x1xf32>
  %a = fastml.mul "a"(%x, %b) : (tensor<1x2x4x!fastml.fixed<s8, 4>>, tensor<2x1xf32>) -> tensor<1x2x4xf32>
  // CHECK: [[A:%.*]] = fastml.mul "a"
  // CHECK-NEXT: [[M:%.*]] = fastml.max_pool "m"([[A]])
  %m = fastml.max_pool "m"(%a) kernel [2] strides [2] dilations [1] pads [0, 0] : tensor<1x2x4xf32> -> tensor<1x2x2xf32>
  // CHECK-NEXT: fastml.relu "r"([[M]])
  %r = fastml.relu "r"(%m) : (tensor<1x2x2xf32>) -> tensor<1x2x2xf32>
  // CHECK-NEXT: [[R:%.*]] = fastml.relu "r/before"([[A]])
  // CHECK-NEXT: [[Q:%.*]] = fastml.quantise "q/before"([[R]]) floor 0 to 7 : tensor<1x2x4xf32> -> tensor<1x2x4x!fastml.fixed<u4, 1>>
  // CHECK-NEXT: [[P:%.*]] = fastml.max_pool "q"([[Q]]) kernel [2] strides [2] dilations [1] pads [0, 0] : tensor<1x2x4x!fastml.fixed<u4, 1>> -> tensor<1x2x2x!fastml.fixed<u4, 1>>
  // CHECK-NEXT: fastml.output [[P]]
  %q = fastml.quantise "q"(%r) floor 0 to 7 : tensor<1x2x2xf32> -> tensor<1x2x2x!fastml.fixed<u4, 1>>
  fastml.output %q : tensor<1x2x2x!fastml.fixed<u4, 1>>
}

// -----

// What never rises makes a maximum a minimum; index maps follow.
// CHECK-LABEL: fastml.network @falling
fastml.network @falling ["x"] -> ["q"] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %c = fastml.constant <"f32 scalar : 0.7"> : tensor<f32>
  %a = fastml.add "a"(%x, %c) : (tensor<1x2x4x!fastml.fixed<s8, 4>>, tensor<f32>) -> tensor<1x2x4xf32>
  %m = fastml.reduce "m"(%a) max over [-1] : tensor<1x2x4xf32> -> tensor<1x2x1xf32>
  %f = fastml.rearrange "f"(%m) : (tensor<1x2x1xf32>) -> tensor<1x2xf32>
  %n = fastml.sub "n"(%c, %f) : (tensor<f32>, tensor<1x2xf32>) -> tensor<1x2xf32>
  // CHECK: [[N:%.*]] = fastml.sub "n/before"
  // CHECK-NEXT: [[Q:%.*]] = fastml.quantise "q/before"([[N]]) half_even
  // CHECK-NEXT: [[R:%.*]] = fastml.reduce "q/m"([[Q]]) min over [-1] : tensor<1x2x4x!fastml.fixed<s6, 2>> -> tensor<1x2x1x!fastml.fixed<s6, 2>>
  // CHECK-NEXT: fastml.rearrange "q"([[R]]) : (tensor<1x2x1x!fastml.fixed<s6, 2>>) -> tensor<1x2x!fastml.fixed<s6, 2>>
  %q = fastml.quantise "q"(%n) half_even -32 to 31 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s6, 2>>
  fastml.output %q : tensor<1x2x!fastml.fixed<s6, 2>>
}

// -----

// Extrema of several real edges, one after the other.
// CHECK-LABEL: fastml.network @several
fastml.network @several ["x", "y"] -> ["q"] {
^bb0(%x: tensor<1x4x!fastml.fixed<s8, 4>>, %y: tensor<1x4x!fastml.fixed<s4, 1>>):
  %c = fastml.constant <"f32 scalar : 0.7"> : tensor<f32>
  %a = fastml.add "a"(%x, %c) : (tensor<1x4x!fastml.fixed<s8, 4>>, tensor<f32>) -> tensor<1x4xf32>
  %b = fastml.mul "b"(%y, %c) : (tensor<1x4x!fastml.fixed<s4, 1>>, tensor<f32>) -> tensor<1x4xf32>
  %e = fastml.extremum "e"(%a, %b) min : (tensor<1x4xf32>, tensor<1x4xf32>) -> tensor<1x4xf32>
  %m = fastml.reduce "m"(%e) max over [-1] : tensor<1x4xf32> -> tensor<1x1xf32>
  // CHECK: fastml.extremum "e"
  // CHECK-NEXT: fastml.reduce "m"
  // CHECK-NEXT: [[A:%.*]] = fastml.quantise "q/before/before"(%a)
  // CHECK-NEXT: [[B:%.*]] = fastml.quantise "q/before/before_2"(%b)
  // CHECK-NEXT: [[E:%.*]] = fastml.extremum "q/before"([[A]], [[B]]) min : {{.*}} -> tensor<1x4x!fastml.fixed<s3, 1>>
  // CHECK-NEXT: fastml.reduce "q"([[E]]) max over [-1] : tensor<1x4x!fastml.fixed<s3, 1>> -> tensor<1x1x!fastml.fixed<s3, 1>>
  %q = fastml.quantise "q"(%m) up -4 to 3 : tensor<1x1xf32> -> tensor<1x1x!fastml.fixed<s3, 1>>
  fastml.output %q : tensor<1x1x!fastml.fixed<s3, 1>>
}

// -----

// An exact operator reads a maximum of real numbers that are proved to be integers; types follow.
// CHECK-LABEL: fastml.network @on_grid
fastml.network @on_grid ["x"] -> ["o"] {
^bb0(%x: tensor<1x1x4x!fastml.fixed<s3, 1>>):
  %w = fastml.constant <"i64 1x1x1 : 3"> : tensor<1x1x1x!fastml.fixed<s3, 0>>
  %r = fastml.relu "r"(%x) : (tensor<1x1x4x!fastml.fixed<s3, 1>>) -> tensor<1x1x4xf32>
  %m = fastml.max_pool "m"(%r) kernel [2] strides [2] dilations [1] pads [0, 0] : tensor<1x1x4xf32> -> tensor<1x1x2xf32>
  // CHECK: [[G:%.*]] = fastml.exact_cast "r/grid"(%r) : tensor<1x1x4xf32> -> tensor<1x1x4x!fastml.fixed<u2, 1>>
  // CHECK-NEXT: [[M:%.*]] = fastml.max_pool "m/grid"([[G]])
  // CHECK-NEXT: [[C:%.*]] = fastml.conv "c"([[M]], %w) strides [1] dilations [1] pads [1, 0] group 1 : {{.*}} -> tensor<1x1x3x!fastml.fixed<u4, 1>>
  %c = fastml.conv "c"(%m, %w) strides [1] dilations [1] pads [1, 0] group 1 : tensor<1x1x2xf32>, tensor<1x1x1x!fastml.fixed<s3, 0>> -> tensor<1x1x3xf32>
  // CHECK-NEXT: [[N:%.*]] = fastml.max_pool "n"([[C]]) {{.*}} -> tensor<1x1x2x!fastml.fixed<u4, 1>>
  %n = fastml.max_pool "n"(%c) kernel [2] strides [1] dilations [1] pads [0, 0] : tensor<1x1x3xf32> -> tensor<1x1x2xf32>
  // CHECK-NEXT: [[S:%.*]] = fastml.reduce "s"([[N]]) sum over [-1] : {{.*}} -> tensor<1x1x1x!fastml.fixed<u5, 1>>
  %s = fastml.reduce "s"(%n) sum over [-1] : tensor<1x1x2xf32> -> tensor<1x1x1xf32>
  // CHECK-NEXT: [[E:%.*]] = fastml.extremum "o"([[S]], [[S]]) max : {{.*}} -> tensor<1x1x1x!fastml.fixed<u5, 1>>
  %o = fastml.extremum "o"(%s, %s) max : (tensor<1x1x1xf32>, tensor<1x1x1xf32>) -> tensor<1x1x1xf32>
  fastml.output %o : tensor<1x1x1xf32>
}

// -----

// What only the host computes stays as it is.
// CHECK-LABEL: fastml.network @hosts
fastml.network @hosts ["x"] -> ["m", "q"] {
^bb0(%x: tensor<1x4xf32>):
  // CHECK: [[M:%.*]] = fastml.reduce "m"
  // CHECK-NEXT: fastml.quantise "q"([[M]])
  %m = fastml.reduce "m"(%x) max over [-1] : tensor<1x4xf32> -> tensor<1x1xf32>
  %q = fastml.quantise "q"(%m) up -4 to 3 : tensor<1x1xf32> -> tensor<1x1x!fastml.fixed<s3, 1>>
  fastml.output %m, %q : tensor<1x1xf32>, tensor<1x1x!fastml.fixed<s3, 1>>
}

// -----

// Several real edges and constants that are joined are quantised before they are.
// CHECK-LABEL: fastml.network @join
fastml.network @join ["x", "y"] -> ["q"] {
^bb0(%x: tensor<1x1x4x!fastml.fixed<s8, 4>>, %y: tensor<1x1x2x!fastml.fixed<s6, 1>>):
  %c = fastml.constant <"f32 3x1 : 0.7 -1.5 2.0"> : tensor<3x1xf32>
  %p = fastml.constant <"f32 1x1x1 : 9.0"> : tensor<1x1x1xf32>
  %s = fastml.constant <"f32 scalar : 0.7"> : tensor<f32>
  %a = fastml.mul "a"(%x, %s) : (tensor<1x1x4x!fastml.fixed<s8, 4>>, tensor<f32>) -> tensor<1x1x4xf32>
  %m = fastml.max_pool "m"(%a) kernel [2] strides [2] dilations [1] pads [0, 0] : tensor<1x1x4xf32> -> tensor<1x1x2xf32>
  %b = fastml.relu "b"(%y) : (tensor<1x1x2x!fastml.fixed<s6, 1>>) -> tensor<1x1x2xf32>
  %j = fastml.rearrange "j"(%m, %b, %p) by <"i64 6 : 0 1 2 3 4 4"> : (tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x1xf32>) -> tensor<1x3x2xf32>
  // CHECK: fastml.add "n"
  %n = fastml.add "n"(%j, %c) : (tensor<1x3x2xf32>, tensor<3x1xf32>) -> tensor<1x3x2xf32>
  // CHECK-NEXT: [[C:%.*]] = fastml.constant <"f32 1x1x1 : 0.7">
  // CHECK-NEXT: [[M:%.*]] = fastml.add "n/before/before"(%a, [[C]])
  // CHECK-NEXT: [[P:%.*]] = fastml.quantise "q/before/before"([[M]])
  // CHECK-NEXT: [[A:%.*]] = fastml.max_pool "q/before"([[P]]) {{.*}} -> tensor<1x1x2x!fastml.fixed<u4, 1>>
  // CHECK-NEXT: [[D:%.*]] = fastml.constant <"f32 1x1x1 : -1.5">
  // CHECK-NEXT: [[N:%.*]] = fastml.add "n/before_2"(%b, [[D]])
  // CHECK-NEXT: [[B:%.*]] = fastml.quantise "q/before_2"([[N]])
  // CHECK-NEXT: [[E:%.*]] = fastml.constant <"i64 1x1x1 : 15"> : tensor<1x1x1x!fastml.fixed<u4, 1>>
  // CHECK-NEXT: fastml.rearrange "q"([[A]], [[B]], [[E]]) by {{.*}} -> tensor<1x3x2x!fastml.fixed<u4, 1>>
  %q = fastml.quantise "q"(%n) floor 0 to 15 : tensor<1x3x2xf32> -> tensor<1x3x2x!fastml.fixed<u4, 1>>
  fastml.output %q : tensor<1x3x2x!fastml.fixed<u4, 1>>
}
