// RUN: %fastml-opt %s | %filecheck %s
// RUN: %fastml-opt %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %filecheck %s --check-prefix GENERIC

// CHECK-LABEL: fastml.network @activations ["x"] -> ["y"] {
fastml.network @activations ["x"] -> ["y"] {
^bb0(%x: tensor<1x2xf32>):
  %c = fastml.constant <"f32 2 : 0.1 -2.5"> : tensor<2xf32>
  // CHECK: %leak = fastml.prelu "leak"(%x, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // GENERIC: "fastml.prelu"(%{{.*}}, %{{.*}}) <{edge = "leak"}>
  %leak = fastml.prelu "leak"(%x, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: %low = fastml.max "low"(%leak, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // GENERIC: "fastml.max"(%{{.*}}, %{{.*}}) <{edge = "low"}>
  %low = fastml.max "low"(%leak, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: %high = fastml.min "high"(%low, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // GENERIC: "fastml.min"(%{{.*}}, %{{.*}}) <{edge = "high"}>
  %high = fastml.min "high"(%low, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: %y = fastml.round "y"(%high) : (tensor<1x2xf32>) -> tensor<1x2xf32>
  // GENERIC: "fastml.round"(%{{.*}}) <{edge = "y"}>
  %y = fastml.round "y"(%high) : (tensor<1x2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: fastml.output %y
  fastml.output %y : tensor<1x2xf32>
}
