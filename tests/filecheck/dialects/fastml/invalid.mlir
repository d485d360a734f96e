// RUN: %fastml-opt %s --split-input-file --parsing-diagnostics --verify-diagnostics | %filecheck %s

// CHECK: must end in fastml.output
fastml.network @no_end ["x"] -> [] {
^bb0(%x: tensor<1xf32>):
  %y = fastml.relu "y"(%x) : (tensor<1xf32>) -> tensor<1xf32>
}

// -----

// CHECK: each input must be a tensor, got i8
fastml.network @no_tensor ["x"] -> [] {
^bb0(%x: i8):
  fastml.output
}

// -----

// CHECK: each input must have quantised or f32 elements, got i8
fastml.network @elements ["x"] -> [] {
^bb0(%x: tensor<1xi8>):
  fastml.output
}

// -----

// CHECK: each input must have a static shape, got tensor<?xf32>
fastml.network @dynamic ["x"] -> [] {
^bb0(%x: tensor<?xf32>):
  fastml.output
}

// -----

// CHECK: scale and zero point of each input do not broadcast to (1, 2)
fastml.network @channels ["x"] -> [] {
^bb0(%x: tensor<1x2x!fastml.scaled<s4, #fastml.array<"f32 3 : 1.5 2.5 3.5">, #fastml.array<"i64 scalar : 0">>>):
  fastml.output
}

// -----

// CHECK: needs one name for each input
fastml.network @input_names ["x", "y"] -> [] {
^bb0(%x: tensor<1xf32>):
  fastml.output
}

// -----

// CHECK: needs one name for each output
fastml.network @output_names ["x"] -> ["a", "b"] {
^bb0(%x: tensor<1xf32>):
  fastml.output %x : tensor<1xf32>
}

// -----

// CHECK: edge names must be unique: ['x']
fastml.network @twice ["x"] -> [] {
^bb0(%x: tensor<1xf32>):
  %y = fastml.relu "x"(%x) : (tensor<1xf32>) -> tensor<1xf32>
  fastml.output
}

// -----

// CHECK: the latency must not be negative
fastml.network @latency ["x"] -> [] latency -1 {
^bb0(%x: tensor<1xf32>):
  fastml.output
}

// -----

// CHECK: the initiation interval must be at least 1
fastml.network @ii ["x"] -> [] ii 0 {
^bb0(%x: tensor<1xf32>):
  fastml.output
}

// -----

// CHECK: value and type differ in shape
%c = fastml.constant <"i64 2 : 1 2"> : tensor<3x!fastml.fixed<s4, 0>>

// -----

// CHECK: real numbers need element type f32, integers a quantised one
%c = fastml.constant <"i64 2 : 1 2"> : tensor<2xf32>

// -----

// CHECK: raw values 1..9 do not fit -8..7
%c = fastml.constant <"i64 2 : 1 9"> : tensor<2x!fastml.fixed<s4, 0>>

// -----

// CHECK: needs 2 operands
fastml.network @arity ["x"] -> [] {
^bb0(%x: tensor<1xf32>):
  %y = fastml.add "y"(%x) : (tensor<1xf32>) -> tensor<1xf32>
  fastml.output
}

// -----

// CHECK: the result must be f32
fastml.network @elementwise_result ["x"] -> [] {
^bb0(%x: tensor<1x!fastml.fixed<s4, 0>>):
  %y = fastml.relu "y"(%x) : (tensor<1x!fastml.fixed<s4, 0>>) -> tensor<1x!fastml.fixed<s4, 0>>
  fastml.output
}

// -----

// CHECK: operands do not broadcast
fastml.network @elementwise_broadcast ["x", "z"] -> [] {
^bb0(%x: tensor<2xf32>, %z: tensor<3xf32>):
  %y = fastml.mul "y"(%x, %z) : (tensor<2xf32>, tensor<3xf32>) -> tensor<3xf32>
  fastml.output
}

// -----

// CHECK: the result must have shape (1, 3)
fastml.network @elementwise_shape ["x", "z"] -> [] {
^bb0(%x: tensor<1x3xf32>, %z: tensor<3xf32>):
  %y = fastml.mul "y"(%x, %z) : (tensor<1x3xf32>, tensor<3xf32>) -> tensor<3xf32>
  fastml.output
}

// -----

// CHECK: axis -3 is not in -2..-1
fastml.network @softmax_axis ["x"] -> [] {
^bb0(%x: tensor<1x3xf32>):
  %y = fastml.softmax "y"(%x) over [-3] : tensor<1x3xf32> -> tensor<1x3xf32>
  fastml.output
}

// -----

// CHECK: clamp -9 to 7 is not within -8..7
fastml.network @clamp ["x"] -> [] {
^bb0(%x: tensor<1xf32>):
  %y = fastml.quantise "y"(%x) floor -9 to 7 : tensor<1xf32> -> tensor<1x!fastml.fixed<s4, 0>>
  fastml.output
}

// -----

// CHECK: the result must be of a fixed, scaled or bipolar type
fastml.network @quantise_to ["x"] -> [] {
^bb0(%x: tensor<1xf32>):
  %y = fastml.quantise "y"(%x) floor 0 to 7 : tensor<1xf32> -> tensor<1x!fastml.ratio<u8, 255>>
  fastml.output
}

// -----

// CHECK: the result must have shape (1, 2)
fastml.network @quantise_shape ["x"] -> [] {
^bb0(%x: tensor<1x2xf32>):
  %y = fastml.quantise "y"(%x) floor 0 to 7 : tensor<1x2xf32> -> tensor<1x3x!fastml.fixed<s4, 0>>
  fastml.output
}

// -----

// CHECK: the result must be quantised
fastml.network @cast_to ["x"] -> [] {
^bb0(%x: tensor<1xf32>):
  %y = fastml.exact_cast "y"(%x) : tensor<1xf32> -> tensor<1xf32>
  fastml.output
}

// -----

// CHECK: the step of the result must divide that of the operand
fastml.network @cast_step ["x"] -> [] {
^bb0(%x: tensor<1x!fastml.fixed<s4, 2>>):
  %y = fastml.exact_cast "y"(%x) : tensor<1x!fastml.fixed<s4, 2>> -> tensor<1x!fastml.fixed<s4, 1>>
  fastml.output
}

// -----

// CHECK: !fastml.fixed<s4, 2> does not fit !fastml.fixed<s4, 3>
fastml.network @cast_width ["x"] -> [] {
^bb0(%x: tensor<1x!fastml.fixed<s4, 2>>):
  %y = fastml.exact_cast "y"(%x) : tensor<1x!fastml.fixed<s4, 2>> -> tensor<1x!fastml.fixed<s4, 3>>
  fastml.output
}

// -----

// CHECK: there is no matrix product of shapes [1, 3] and [2, 2]
fastml.network @matmul_shape ["x"] -> [] {
^bb0(%x: tensor<1x3x!fastml.fixed<s4, 0>>):
  %w = fastml.constant <"i64 2x2 : 1 2 3 4"> : tensor<2x2x!fastml.fixed<s4, 0>>
  %y = fastml.matmul "y"(%x, %w) : tensor<1x3x!fastml.fixed<s4, 0>>, tensor<2x2x!fastml.fixed<s4, 0>> -> tensor<1x2x!fastml.fixed<s9, 0>>
  fastml.output
}

// -----

// CHECK: exactly one operand must be a constant
fastml.network @matmul_operands ["x", "w"] -> [] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 0>>, %w: tensor<2x2x!fastml.fixed<s4, 0>>):
  %y = fastml.matmul "y"(%x, %w) : tensor<1x2x!fastml.fixed<s4, 0>>, tensor<2x2x!fastml.fixed<s4, 0>> -> tensor<1x2x!fastml.fixed<s9, 0>>
  fastml.output
}

// -----

// CHECK: the result is fixed, scaled or a ratio if and only if all operands are quantised
fastml.network @matmul_real ["x"] -> [] {
^bb0(%x: tensor<1x2xf32>):
  %w = fastml.constant <"i64 2x2 : 1 2 3 4"> : tensor<2x2x!fastml.fixed<s4, 0>>
  %y = fastml.matmul "y"(%x, %w) : tensor<1x2xf32>, tensor<2x2x!fastml.fixed<s4, 0>> -> tensor<1x2x!fastml.fixed<s9, 0>>
  fastml.output
}

// -----

// CHECK: the result needs the width of !fastml.fixed<s7, 0>
fastml.network @matmul_width ["x"] -> [] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 0>>):
  %w = fastml.constant <"i64 2x2 : 1 2 3 4"> : tensor<2x2x!fastml.fixed<s4, 0>>
  %y = fastml.matmul "y"(%x, %w) : tensor<1x2x!fastml.fixed<s4, 0>>, tensor<2x2x!fastml.fixed<s4, 0>> -> tensor<1x2x!fastml.fixed<s6, 0>>
  fastml.output
}

// -----

// CHECK: the result must be !fastml.fixed<s7, 1>
fastml.network @matmul_step ["x"] -> [] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 1>>):
  %w = fastml.constant <"i64 2x2 : 1 2 3 4"> : tensor<2x2x!fastml.fixed<s4, 0>>
  %y = fastml.matmul "y"(%x, %w) : tensor<1x2x!fastml.fixed<s4, 1>>, tensor<2x2x!fastml.fixed<s4, 0>> -> tensor<1x2x!fastml.fixed<s9, 0>>
  fastml.output
}

// -----

// CHECK: the steps of an operand differ along the axis that is summed
fastml.network @matmul_rows ["x"] -> [] {
^bb0(%x: tensor<1x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 1.5 2.5">, #fastml.array<"i64 scalar : 0">>>):
  %w = fastml.constant <"i64 2x2 : 1 2 3 4"> : tensor<2x2x!fastml.fixed<s4, 0>>
  %y = fastml.matmul "y"(%x, %w) : tensor<1x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 1.5 2.5">, #fastml.array<"i64 scalar : 0">>>, tensor<2x2x!fastml.fixed<s4, 0>> -> tensor<1x2x!fastml.fixed<s9, 0>>
  fastml.output
}

// -----

// CHECK: needs an operand
fastml.network @sum_nothing [] -> [] {
  %y = fastml.sum "y"() [] : () -> tensor<1x!fastml.fixed<s4, 0>>
  fastml.output
}

// -----

// CHECK: needs one sign for each operand
fastml.network @signs ["x"] -> [] {
^bb0(%x: tensor<1x!fastml.fixed<s4, 0>>):
  %y = fastml.sum "y"(%x) [1, 1] : (tensor<1x!fastml.fixed<s4, 0>>) -> tensor<1x!fastml.fixed<s4, 0>>
  fastml.output
}

// -----

// CHECK: a sign is 1 or -1
fastml.network @sign ["x"] -> [] {
^bb0(%x: tensor<1x!fastml.fixed<s4, 0>>):
  %y = fastml.sum "y"(%x) [2] : (tensor<1x!fastml.fixed<s4, 0>>) -> tensor<1x!fastml.fixed<s4, 0>>
  fastml.output
}

// -----

// CHECK: operands do not broadcast
fastml.network @sum_shapes ["x", "z"] -> [] {
^bb0(%x: tensor<2x!fastml.fixed<s4, 0>>, %z: tensor<3x!fastml.fixed<s4, 0>>):
  %y = fastml.sum "y"(%x, %z) [1, 1] : (tensor<2x!fastml.fixed<s4, 0>>, tensor<3x!fastml.fixed<s4, 0>>) -> tensor<2x!fastml.fixed<s5, 0>>
  fastml.output
}

// -----

// CHECK: the result needs the width of !fastml.fixed<s5, 0>
fastml.network @sum_width ["x"] -> [] {
^bb0(%x: tensor<2x!fastml.fixed<s4, 0>>):
  %y = fastml.sum "y"(%x, %x) [1, 1] : (tensor<2x!fastml.fixed<s4, 0>>, tensor<2x!fastml.fixed<s4, 0>>) -> tensor<2x!fastml.fixed<s4, 0>>
  fastml.output
}

// -----

// CHECK: operands do not broadcast
fastml.network @product_shapes ["x", "z"] -> [] {
^bb0(%x: tensor<2x!fastml.fixed<s4, 0>>, %z: tensor<3x!fastml.fixed<s4, 0>>):
  %y = fastml.product "y"(%x, %z) : tensor<2x!fastml.fixed<s4, 0>>, tensor<3x!fastml.fixed<s4, 0>> -> tensor<2x!fastml.fixed<s8, 0>>
  fastml.output
}

// -----

// CHECK: the result must be !fastml.fixed<s8, 4>
fastml.network @product_step ["x"] -> [] {
^bb0(%x: tensor<2x!fastml.fixed<s4, 2>>):
  %y = fastml.product "y"(%x, %x) : tensor<2x!fastml.fixed<s4, 2>>, tensor<2x!fastml.fixed<s4, 2>> -> tensor<2x!fastml.fixed<s8, 2>>
  fastml.output
}

// -----

// CHECK: without an index, sizes must agree
fastml.network @rearrange_sizes ["x"] -> [] {
^bb0(%x: tensor<1x2xf32>):
  %y = fastml.rearrange "y"(%x) : (tensor<1x2xf32>) -> tensor<1x3xf32>
  fastml.output
}

// -----

// CHECK: index must be 3 integers
fastml.network @rearrange_index ["x"] -> [] {
^bb0(%x: tensor<1x2xf32>):
  %y = fastml.rearrange "y"(%x) by <"i64 2 : 0 1"> : (tensor<1x2xf32>) -> tensor<1x3xf32>
  fastml.output
}

// -----

// CHECK: index must be within 0..1
fastml.network @rearrange_range ["x"] -> [] {
^bb0(%x: tensor<1x2xf32>):
  %y = fastml.rearrange "y"(%x) by <"i64 2 : 0 2"> : (tensor<1x2xf32>) -> tensor<1x2xf32>
  fastml.output
}

// -----

// CHECK: operands and result must all be f32 or all quantised
fastml.network @rearrange_kinds ["x"] -> [] {
^bb0(%x: tensor<1x2xf32>):
  %y = fastml.rearrange "y"(%x) : (tensor<1x2xf32>) -> tensor<2x!fastml.fixed<s4, 0>>
  fastml.output
}

// -----

// CHECK: !fastml.fixed<s4, 0> does not fit !fastml.fixed<s3, 0>
fastml.network @rearrange_width ["x"] -> [] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 0>>):
  %y = fastml.rearrange "y"(%x) : (tensor<1x2x!fastml.fixed<s4, 0>>) -> tensor<2x!fastml.fixed<s3, 0>>
  fastml.output
}

// -----

// CHECK: scales and zero points must move with their elements
fastml.network @rearrange_scales ["x"] -> [] {
^bb0(%x: tensor<1x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 1.5 2.5">, #fastml.array<"i64 scalar : 0">>>):
  %y = fastml.rearrange "y"(%x) by <"i64 2 : 1 0"> : (tensor<1x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 1.5 2.5">, #fastml.array<"i64 scalar : 0">>>) -> tensor<1x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 1.5 2.5">, #fastml.array<"i64 scalar : 0">>>
  fastml.output
}

// -----

// CHECK: malformed constant array: 2 elements for shape 3
%c = fastml.constant <"i64 3 : 1 2"> : tensor<3x!fastml.fixed<s4, 0>>

// -----

// CHECK: malformed constant array: unknown element type 'f64'
%c = fastml.constant <"f64 1 : 1"> : tensor<1xf32>

// -----

// CHECK: malformed constant array: shape 99999999999 is out of bounds
%c = fastml.constant <"i64 99999999999 z abc"> : tensor<1xf32>

// -----

// CHECK: expected a width such as 's8' or 'u8'
%c = fastml.constant <"i64 1 : 1"> : tensor<1x!fastml.fixed<x8, 0>>

// -----

// CHECK: width must be in 0..4096, got 5000
%c = fastml.constant <"i64 1 : 1"> : tensor<1x!fastml.fixed<s5000, 0>>

// -----

// CHECK: fraction must be within
%c = fastml.constant <"i64 1 : 1"> : tensor<1x!fastml.fixed<s8, 9999>>

// -----

// CHECK: scale must be float32, finite and positive
%c = fastml.constant <"i64 1 : 1"> : tensor<1x!fastml.scaled<s4, #fastml.array<"f32 scalar : -1.0">, #fastml.array<"i64 scalar : 0">>>

// -----

// CHECK: zero point must be an integer
%c = fastml.constant <"i64 1 : 1"> : tensor<1x!fastml.scaled<s4, #fastml.array<"f32 scalar : 1.5">, #fastml.array<"f32 scalar : 0.5">>>

// -----

// CHECK: divisor must be in 1..2**24-1, got 0
%c = fastml.constant <"i64 1 : 1"> : tensor<1x!fastml.ratio<u8, 0>>

// -----

// CHECK: scale must be float32, finite and positive
%c = fastml.constant <"i64 1 : 1"> : tensor<1x!fastml.bipolar<#fastml.array<"f32 scalar : 0.0">>>
