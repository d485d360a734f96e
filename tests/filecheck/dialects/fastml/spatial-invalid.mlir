// RUN: %fastml-opt %s --split-input-file --parsing-diagnostics --verify-diagnostics | %filecheck %s

// CHECK: the weights need output channels, channels and a window
fastml.network @case_0 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 2x2 : 1 1 1 1"> : tensor<2x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<2x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: needs a spatial axis
fastml.network @case_1 ["x"] -> [] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 1>>):
  %m = fastml.max_pool "m"(%x) kernel [] strides [] dilations [] pads [] : tensor<1x2x!fastml.fixed<s4, 1>> -> tensor<1x2x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: the operand must have a batch of 1, channels and 2 spatial axes
fastml.network @case_2 ["x"] -> [] {
^bb0(%x: tensor<2x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] group 2 : tensor<2x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: needs 2 strides, 2 dilations and 4 pads
fastml.network @case_3 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: strides and dilations must be positive
fastml.network @case_4 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 0] pads [0, 0, 0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: a window must not be empty
fastml.network @case_5 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %m = fastml.max_pool "m"(%x) kernel [0, 2] strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] : tensor<1x2x5x4x!fastml.fixed<s4, 1>> -> tensor<1x2x4x3x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: pads must not be negative
fastml.network @case_6 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, -1, 0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: a window is larger than the operand
fastml.network @case_7 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [3, 1] pads [0, 0, 0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: the weights must be a constant
fastml.network @case_8 ["x", "w"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>, %w: tensor<4x1x3x2x!fastml.fixed<s3, 2>>):
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: the number of groups must be positive
fastml.network @case_9 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] group 0 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: 1 groups of 1 channels are not the operand's 2
fastml.network @case_10 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] group 1 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: 2 groups do not divide 3 channels
fastml.network @case_11 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 3x1x1x1 : 1 2 3"> : tensor<3x1x1x1x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<3x1x1x1x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: the result must have shape (1, 4, 3, 3)
fastml.network @case_12 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x2x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: the result needs the width of !fastml.fixed<s8, 3>
fastml.network @case_13 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s7, 3>>
  fastml.output
}

// -----

// CHECK: the result must be !fastml.fixed<s8, 3>
fastml.network @case_14 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3x!fastml.fixed<s8, 2>>
  fastml.output
}

// -----

// CHECK: the result is fixed, scaled or a ratio if and only if all operands are quantised
fastml.network @case_15 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 4x1x3x2 : 2 1 0 -2 -1 -3 -3 -3 -2 2 1 3 0 1 3 2 1 0 0 3 -2 2 1 -3"> : tensor<4x1x3x2x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] group 2 : tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<4x1x3x2x!fastml.fixed<s3, 2>> -> tensor<1x4x3x3xf32>
  fastml.output
}

// -----

// CHECK: the steps of an operand differ along what is summed
fastml.network @case_16 ["x"] -> [] {
^bb0(%x: tensor<1x2x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 0.1 0.3">, #fastml.array<"i64 scalar : 0">>>):
  %w = fastml.constant <"i64 1x2x1 : 1 2"> : tensor<1x2x1x!fastml.fixed<s3, 2>>
  %c = fastml.conv "c"(%x, %w) strides [1] dilations [1] pads [0, 0] group 1 : tensor<1x2x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 0.1 0.3">, #fastml.array<"i64 scalar : 0">>>, tensor<1x2x1x!fastml.fixed<s3, 2>> -> tensor<1x1x2x!fastml.fixed<s8, 3>>
  fastml.output
}

// -----

// CHECK: a window sees pads alone
fastml.network @case_17 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %m = fastml.max_pool "m"(%x) kernel [2, 2] strides [1, 1] dilations [1, 1] pads [2, 0, 0, 0] : tensor<1x2x5x4x!fastml.fixed<s4, 1>> -> tensor<1x2x6x3x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: the result must have shape (1, 2, 4, 3)
fastml.network @case_18 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %m = fastml.max_pool "m"(%x) kernel [2, 2] strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] : tensor<1x2x5x4x!fastml.fixed<s4, 1>> -> tensor<1x2x4x4x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: the result must be of type !fastml.fixed<s4, 1>
fastml.network @case_19 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %m = fastml.max_pool "m"(%x) kernel [2, 2] strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] : tensor<1x2x5x4x!fastml.fixed<s4, 1>> -> tensor<1x2x4x3x!fastml.fixed<s5, 1>>
  fastml.output
}

// -----

// CHECK: scales or zero points differ along what is compared
fastml.network @case_20 ["x"] -> [] {
^bb0(%x: tensor<1x2x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 0.1 0.3">, #fastml.array<"i64 scalar : 0">>>):
  %r = fastml.reduce "r"(%x) max over [-1] : tensor<1x2x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 0.1 0.3">, #fastml.array<"i64 scalar : 0">>> -> tensor<1x2x1x!fastml.scaled<s4, #fastml.array<"f32 scalar : 0.1">, #fastml.array<"i64 scalar : 0">>>
  fastml.output
}

// -----

// CHECK: needs an axis
fastml.network @case_21 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %r = fastml.reduce "r"(%x) sum over [] : tensor<1x2x5x4x!fastml.fixed<s4, 1>> -> tensor<1x2x5x4x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: axes [-1, -1] repeat one
fastml.network @case_22 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %r = fastml.reduce "r"(%x) sum over [-1, -1] : tensor<1x2x5x4x!fastml.fixed<s4, 1>> -> tensor<1x2x5x1x!fastml.fixed<s6, 1>>
  fastml.output
}

// -----

// CHECK: axis 1 is not in -4..-1
fastml.network @case_23 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %r = fastml.reduce "r"(%x) sum over [1] : tensor<1x2x5x4x!fastml.fixed<s4, 1>> -> tensor<1x2x5x1x!fastml.fixed<s6, 1>>
  fastml.output
}

// -----

// CHECK: axis -1 has no elements
fastml.network @case_24 ["x"] -> [] {
^bb0(%x: tensor<1x0x!fastml.fixed<s4, 1>>):
  %r = fastml.reduce "r"(%x) sum over [-1] : tensor<1x0x!fastml.fixed<s4, 1>> -> tensor<1x1x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: the result must have shape [1, 2, 5, 1]
fastml.network @case_25 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %r = fastml.reduce "r"(%x) min over [-1] : tensor<1x2x5x4x!fastml.fixed<s4, 1>> -> tensor<1x2x5x4x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: the result needs the width of !fastml.fixed<s6, 1>
fastml.network @case_26 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %r = fastml.reduce "r"(%x) sum over [-1] : tensor<1x2x5x4x!fastml.fixed<s4, 1>> -> tensor<1x2x5x1x!fastml.fixed<s5, 1>>
  fastml.output
}

// -----

// CHECK: the steps of the operand differ along what is summed
fastml.network @case_27 ["x"] -> [] {
^bb0(%x: tensor<1x2x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 0.1 0.3">, #fastml.array<"i64 scalar : 0">>>):
  %r = fastml.reduce "r"(%x) sum over [-1] : tensor<1x2x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 0.1 0.3">, #fastml.array<"i64 scalar : 0">>> -> tensor<1x2x1x!fastml.scaled<s4, #fastml.array<"f32 scalar : 0.1">, #fastml.array<"i64 scalar : 0">>>
  fastml.output
}

// -----

// CHECK: needs an operand
fastml.network @case_28 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %e = fastml.extremum "e"() max : () -> tensor<1x2x5x4x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: an extremum is a max or a min
fastml.network @case_29 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %e = fastml.extremum "e"(%x, %x) sum : (tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<1x2x5x4x!fastml.fixed<s4, 1>>) -> tensor<1x2x5x4x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: operands do not broadcast
fastml.network @case_30 ["x", "y"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>, %y: tensor<3x!fastml.fixed<s4, 1>>):
  %e = fastml.extremum "e"(%x, %y) max : (tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<3x!fastml.fixed<s4, 1>>) -> tensor<1x2x5x4x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: the result needs the width of !fastml.fixed<s4, 1>
fastml.network @case_31 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %e = fastml.extremum "e"(%x, %x) max : (tensor<1x2x5x4x!fastml.fixed<s4, 1>>, tensor<1x2x5x4x!fastml.fixed<s4, 1>>) -> tensor<1x2x5x4x!fastml.fixed<s3, 1>>
  fastml.output
}

// -----

// CHECK: each operand and result must have quantised or f32 elements, got i8
fastml.network @case_32 ["x"] -> [] {
^bb0(%x: tensor<1x2x5x4x!fastml.fixed<s4, 1>>):
  %m = fastml.max_pool "m"(%x) kernel [2, 2] strides [1, 1] dilations [1, 1] pads [0, 0, 0, 0] : tensor<1x2x5x4x!fastml.fixed<s4, 1>> -> tensor<1x2x4x3xi8>
  fastml.output
}
