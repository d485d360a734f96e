// RUN: %fastml-opt %s | %filecheck %s
// RUN: %fastml-opt %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %filecheck %s --check-prefix GENERIC

// CHECK-LABEL: fastml.network @first ["x", "y", "p"] -> ["e"] {
fastml.network @first ["x", "y", "p"] -> ["e"] {
// CHECK-NEXT: ^bb0(
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>, %y: tensor<1x2x5x4x!fastml.fixed<s4, 2>>, %p: tensor<1x6x3x!fastml.ratio<u8, 255>>):
  // CHECK-NEXT: %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  // CHECK-NEXT: %c = fastml.conv "c"(%x, %w) strides [2, 1] dilations [1, 2] pads [1, 0, 1, 2] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x4x!fastml.fixed<s8, 3>>
  // GENERIC: "fastml.conv"(%x, %w) <{edge = "c", strides = [#builtin.int<2>, #builtin.int<1>], dilations = [#builtin.int<1>, #builtin.int<2>], pads = [#builtin.int<1>, #builtin.int<0>, #builtin.int<1>, #builtin.int<2>], group = #builtin.int<2>}>
  %c = fastml.conv "c"(%x, %w) strides [2, 1] dilations [1, 2] pads [1, 0, 1, 2] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x4x!fastml.fixed<s8, 3>>
  // CHECK-NEXT: %m = fastml.max_pool "m"(%c) kernel [2, 2] strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] : tensor<1x4x3x4x!fastml.fixed<s8, 3>> -> tensor<1x4x2x3x!fastml.fixed<s8, 3>>
  %m = fastml.max_pool "m"(%c) kernel [2, 2] strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] : tensor<1x4x3x4x!fastml.fixed<s8, 3>> -> tensor<1x4x2x3x!fastml.fixed<s8, 3>>
  // CHECK-NEXT: %r = fastml.reduce "r"(%m) sum over [-1, -2] : tensor<1x4x2x3x!fastml.fixed<s8, 3>> -> tensor<1x4x1x1x!fastml.fixed<s11, 3>>
  %r = fastml.reduce "r"(%m) sum over [-1, -2] : tensor<1x4x2x3x!fastml.fixed<s8, 3>> -> tensor<1x4x1x1x!fastml.fixed<s11, 3>>
  // CHECK-NEXT: %s = fastml.reduce "s"(%p) sum over [-1] : tensor<1x6x3x!fastml.ratio<u8, 255>> -> tensor<1x6x1x!fastml.ratio<u10, 255>>
  %s = fastml.reduce "s"(%p) sum over [-1] : tensor<1x6x3x!fastml.ratio<u8, 255>> -> tensor<1x6x1x!fastml.ratio<u10, 255>>
  // CHECK-NEXT: %e = fastml.extremum "e"(%x, %y) max : (tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<1x2x5x4x!fastml.fixed<s4, 2>>) -> tensor<1x2x5x4x!fastml.fixed<s5, 2>>
  // GENERIC: "fastml.extremum"(%x, %y) <{edge = "e", kind = #fastml<reduction max>}>
  %e = fastml.extremum "e"(%x, %y) max : (tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<1x2x5x4x!fastml.fixed<s4, 2>>) -> tensor<1x2x5x4x!fastml.fixed<s5, 2>>
  // CHECK-NEXT: %n = fastml.reduce "n"(%e) min over [-3] : tensor<1x2x5x4x!fastml.fixed<s5, 2>> -> tensor<1x1x5x4x!fastml.fixed<s5, 2>>
  // GENERIC: "fastml.reduce"(%e) <{edge = "n", kind = #fastml<reduction min>, axes = [#builtin.int<-3>]}>
  %n = fastml.reduce "n"(%e) min over [-3] : tensor<1x2x5x4x!fastml.fixed<s5, 2>> -> tensor<1x1x5x4x!fastml.fixed<s5, 2>>
  fastml.output %e : tensor<1x2x5x4x!fastml.fixed<s5, 2>>
}

// CHECK-LABEL: fastml.network @last ["x", "b", "f"] -> ["c"] {
fastml.network @last ["x", "b", "f"] -> ["c"] {
// CHECK-NEXT: ^bb0(
^bb0(%x: tensor<1x7x2x!fastml.scaled<u4, #fastml.array<"f32 2 : 0.1 0.3">, #fastml.array<"i64 2 : 1 2">>>, %b: tensor<1x7x2x!fastml.bipolar<#fastml.array<"f32 scalar : 0.5">>>, %f: tensor<1x7x2xf32>):
  // CHECK-NEXT: %w = fastml.constant <"i64 2x3x1 : 1 -2 3 2 0 -1"> : tensor<2x3x1x!fastml.scaled<s3, #fastml.array<"f32 2x1x1 : 0.5 0.25">, #fastml.array<"i64 scalar : 1">>>
  %w = fastml.constant <"i64 2x3x1 : 1 -2 3 2 0 -1"> : tensor<2x3x1x!fastml.scaled<s3, #fastml.array<"f32 2x1x1 : 0.5 0.25">, #fastml.array<"i64 scalar : 1">>>
  // CHECK-NEXT: %c = fastml.conv "c"(%x, %w) strides [1] dilations [1] pads [1, 0] group 2 channels_last : tensor<1x7x2x!fastml.scaled<u4, #fastml.array<"f32 2 : 0.1 0.3">, #fastml.array<"i64 2 : 1 2">>>, tensor<2x3x1x!fastml.scaled<s3, #fastml.array<"f32 2x1x1 : 0.5 0.25">, #fastml.array<"i64 scalar : 1">>> -> tensor<1x6x2x!fastml.scaled<s7, #fastml.array<"f32 1x1x2 : 0.05 0.075">, #fastml.array<"i64 scalar : 0">>>
  %c = fastml.conv "c"(%x, %w) strides [1] dilations [1] pads [1, 0] group 2 channels_last : tensor<1x7x2x!fastml.scaled<u4, #fastml.array<"f32 2 : 0.1 0.3">, #fastml.array<"i64 2 : 1 2">>>, tensor<2x3x1x!fastml.scaled<s3, #fastml.array<"f32 2x1x1 : 0.5 0.25">, #fastml.array<"i64 scalar : 1">>> -> tensor<1x6x2x!fastml.scaled<s7, #fastml.array<"f32 1x1x2 : 0.05 0.075">, #fastml.array<"i64 scalar : 0">>>
  // CHECK-NEXT: %m = fastml.max_pool "m"(%b) kernel [3] strides [2] dilations [2] pads [1, 1] channels_last : tensor<1x7x2x!fastml.bipolar<#fastml.array<"f32 scalar : 0.5">>> -> tensor<1x3x2x!fastml.bipolar<#fastml.array<"f32 scalar : 0.5">>>
  // GENERIC: "fastml.max_pool"(%b) <{edge = "m", kernel = [#builtin.int<3>], strides = [#builtin.int<2>], dilations = [#builtin.int<2>], pads = [#builtin.int<1>, #builtin.int<1>], channels_last}>
  %m = fastml.max_pool "m"(%b) kernel [3] strides [2] dilations [2] pads [1, 1] channels_last : tensor<1x7x2x!fastml.bipolar<#fastml.array<"f32 scalar : 0.5">>> -> tensor<1x3x2x!fastml.bipolar<#fastml.array<"f32 scalar : 0.5">>>
  // CHECK-NEXT: %n = fastml.max_pool "n"(%f) kernel [2] strides [2] dilations [1] pads [0, 0] channels_last : tensor<1x7x2xf32> -> tensor<1x3x2xf32>
  %n = fastml.max_pool "n"(%f) kernel [2] strides [2] dilations [1] pads [0, 0] channels_last : tensor<1x7x2xf32> -> tensor<1x3x2xf32>
  // CHECK-NEXT: %r = fastml.reduce "r"(%f) max over [-2] : tensor<1x7x2xf32> -> tensor<1x1x2xf32>
  %r = fastml.reduce "r"(%f) max over [-2] : tensor<1x7x2xf32> -> tensor<1x1x2xf32>
  // CHECK-NEXT: %s = fastml.reduce "s"(%f) sum over [-2] : tensor<1x7x2xf32> -> tensor<1x1x2xf32>
  %s = fastml.reduce "s"(%f) sum over [-2] : tensor<1x7x2xf32> -> tensor<1x1x2xf32>
  // CHECK-NEXT: %e = fastml.extremum "e"(%f, %b) min : (tensor<1x7x2xf32>, tensor<1x7x2x!fastml.bipolar<#fastml.array<"f32 scalar : 0.5">>>) -> tensor<1x7x2xf32>
  %e = fastml.extremum "e"(%f, %b) min : (tensor<1x7x2xf32>, tensor<1x7x2x!fastml.bipolar<#fastml.array<"f32 scalar : 0.5">>>) -> tensor<1x7x2xf32>
  fastml.output %c : tensor<1x6x2x!fastml.scaled<s7, #fastml.array<"f32 1x1x2 : 0.05 0.075">, #fastml.array<"i64 scalar : 0">>>
}
