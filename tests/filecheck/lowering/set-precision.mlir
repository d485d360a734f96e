// RUN: %fastml-opt %s -p "set-precision{default=\"fixed<8,4>\" of=\"x=fixed<6,3>\",\"b.weight=fixed<4,1,RND,SAT>\"}" | %filecheck %s

// A product and the sum with a bias are one layer: it is converted once. What has no exact form stays real.
// CHECK-LABEL: fastml.network @net
// CHECK-NEXT:  ^bb0(%{{.*}}: tensor<1x2x!fastml.fixed<s6, 3>>):
// CHECK-NEXT:    fastml.constant <"i64 2x2 : 7 -4 1 2"> : tensor<2x2x!fastml.fixed<s4, 3>>
// CHECK-NEXT:    fastml.matmul "b/product"{{.*}} -> tensor<1x2x!fastml.fixed<{{s1?[0-9]}}, 6>>
// CHECK-NEXT:    fastml.constant <"i64 2 : -2 3"> : tensor<2x!fastml.fixed<s8, 4>>
// CHECK-NEXT:    fastml.sum "b/exact"
// CHECK-NEXT:    fastml.convert "b"{{.*}} "trn" "wrap" : {{.*}} -> tensor<1x2x!fastml.fixed<s8, 4>>
// CHECK-NEXT:    fastml.constant <"i64 scalar : 0">
// CHECK-NEXT:    fastml.extremum "r"{{.*}} max : {{.*}} -> tensor<1x2x!fastml.fixed<u7, 4>>
// CHECK-NEXT:    fastml.rearrange "t"{{.*}} -> tensor<2x1x!fastml.fixed<u7, 4>>
// CHECK-NEXT:    fastml.softmax "s"{{.*}} -> tensor<2x1xf32>
fastml.network @net ["x"] -> ["s"] {
^bb0(%x: tensor<1x2xf32>):
  %w = fastml.constant <"f32 2x2 : 1.5 -0.5 0.0626 0.25"> : tensor<2x2xf32>
  %p = fastml.matmul "b/product"(%x, %w) : tensor<1x2xf32>, tensor<2x2xf32> -> tensor<1x2xf32>
  %c = fastml.constant <"f32 2 : -0.1 0.2"> : tensor<2xf32>
  %b = fastml.add "b"(%p, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  %r = fastml.relu "r"(%b) : (tensor<1x2xf32>) -> tensor<1x2xf32>
  %t = fastml.rearrange "t"(%r) : (tensor<1x2xf32>) -> tensor<2x1xf32>
  %s = fastml.softmax "s"(%t) over [-2] : tensor<2x1xf32> -> tensor<2x1xf32>
  fastml.output %s : tensor<2x1xf32>
}
