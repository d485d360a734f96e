// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p infer-grids | %filecheck %s

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the extremum 'm' of real numbers: what is between rises for some numbers and falls for others; fix: quantise the operands of 'm'
fastml.network @case_0 ["x"] -> [] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %c = fastml.constant <"f32 2x1 : 1.5 -1.5"> : tensor<2x1xf32>
  %a = fastml.relu "a"(%x) : (tensor<1x2x4x!fastml.fixed<s8, 4>>) -> tensor<1x2x4xf32>
  %m = fastml.max_pool "m"(%a) kernel [2] strides [2] dilations [1] pads [0, 0] : tensor<1x2x4xf32> -> tensor<1x2x2xf32>
  %n = fastml.mul "n"(%m, %c) : (tensor<1x2x2xf32>, tensor<2x1xf32>) -> tensor<1x2x2xf32>
  %q = fastml.quantise "q"(%n) floor 0 to 7 : tensor<1x2x2xf32> -> tensor<1x2x2x!fastml.fixed<u4, 1>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the extremum 'm' of real numbers: what is between falls, and there are no pools of minima; fix: quantise the operands of 'm'
fastml.network @case_1 ["x"] -> [] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %c = fastml.constant <"f32 scalar : -1.5"> : tensor<f32>
  %a = fastml.relu "a"(%x) : (tensor<1x2x4x!fastml.fixed<s8, 4>>) -> tensor<1x2x4xf32>
  %m = fastml.max_pool "m"(%a) kernel [2] strides [2] dilations [1] pads [0, 0] : tensor<1x2x4xf32> -> tensor<1x2x2xf32>
  %n = fastml.mul "n"(%m, %c) : (tensor<1x2x2xf32>, tensor<f32>) -> tensor<1x2x2xf32>
  %q = fastml.quantise "q"(%n) floor 0 to 7 : tensor<1x2x2xf32> -> tensor<1x2x2x!fastml.fixed<u4, 1>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the extremum 'm' of real numbers: 'n' may rise and fall; fix: quantise the operands of 'm'
fastml.network @case_2 ["x"] -> [] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %c = fastml.constant <"f32 scalar : -1.5"> : tensor<f32>
  %a = fastml.relu "a"(%x) : (tensor<1x2x4x!fastml.fixed<s8, 4>>) -> tensor<1x2x4xf32>
  %m = fastml.max_pool "m"(%a) kernel [2] strides [2] dilations [1] pads [0, 0] : tensor<1x2x4xf32> -> tensor<1x2x2xf32>
  %n = fastml.pow "n"(%m, %c) : (tensor<1x2x2xf32>, tensor<f32>) -> tensor<1x2x2xf32>
  %q = fastml.quantise "q"(%n) floor 0 to 7 : tensor<1x2x2xf32> -> tensor<1x2x2x!fastml.fixed<u4, 1>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the extremum 'm' of real numbers: 'n' differs between the elements that are compared; fix: quantise the operands of 'm'
fastml.network @case_3 ["x"] -> [] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %c = fastml.constant <"f32 2 : 1.5 2.5"> : tensor<2xf32>
  %a = fastml.relu "a"(%x) : (tensor<1x2x4x!fastml.fixed<s8, 4>>) -> tensor<1x2x4xf32>
  %m = fastml.max_pool "m"(%a) kernel [2] strides [2] dilations [1] pads [0, 0] : tensor<1x2x4xf32> -> tensor<1x2x2xf32>
  %n = fastml.mul "n"(%m, %c) : (tensor<1x2x2xf32>, tensor<2xf32>) -> tensor<1x2x2xf32>
  %q = fastml.quantise "q"(%n) floor 0 to 7 : tensor<1x2x2xf32> -> tensor<1x2x2x!fastml.fixed<u4, 1>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the extremum 'm' of real numbers: 'n' gives it more elements; fix: quantise the operands of 'm'
fastml.network @case_4 ["x"] -> [] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %c = fastml.constant <"f32 4 : 1.5 2.5 3.5 4.5"> : tensor<4xf32>
  %a = fastml.relu "a"(%x) : (tensor<1x2x4x!fastml.fixed<s8, 4>>) -> tensor<1x2x4xf32>
  %m = fastml.reduce "m"(%a) max over [-1] : tensor<1x2x4xf32> -> tensor<1x2x1xf32>
  %n = fastml.mul "n"(%m, %c) : (tensor<1x2x1xf32>, tensor<4xf32>) -> tensor<1x2x4xf32>
  %q = fastml.quantise "q"(%n) floor 0 to 7 : tensor<1x2x4xf32> -> tensor<1x2x4x!fastml.fixed<u4, 1>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the extremum 'm' of real numbers: the scale differs between the elements that are compared; fix: quantise the operands of 'm'
fastml.network @case_5 ["x"] -> [] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %a = fastml.relu "a"(%x) : (tensor<1x2x4x!fastml.fixed<s8, 4>>) -> tensor<1x2x4xf32>
  %m = fastml.max_pool "m"(%a) kernel [2] strides [2] dilations [1] pads [0, 0] : tensor<1x2x4xf32> -> tensor<1x2x2xf32>
  %q = fastml.quantise "q"(%m) floor 0 to 7 : tensor<1x2x2xf32> -> tensor<1x2x2x!fastml.scaled<u4, #fastml.array<"f32 2 : 0.5 1.5">, #fastml.array<"i64 scalar : 0">>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the extremum 'm' of real numbers: the quantiser's parameters have more axes; fix: quantise the operands of 'm'
fastml.network @case_6 ["x"] -> [] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %a = fastml.relu "a"(%x) : (tensor<1x2x4x!fastml.fixed<s8, 4>>) -> tensor<1x2x4xf32>
  %m = fastml.max_pool "m"(%a) kernel [2] strides [2] dilations [1] pads [0, 0] : tensor<1x2x4xf32> -> tensor<1x2x2xf32>
  %q = fastml.quantise "q"(%m) floor 0 to 7 : tensor<1x2x2xf32> -> tensor<1x1x2x2x!fastml.scaled<u4, #fastml.array<"f32 1x1x1x1 : 0.5">, #fastml.array<"i64 scalar : 0">>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the extremum 'm' of real numbers: 'n' differs between the elements that are compared; fix: quantise the operands of 'm'
fastml.network @case_7 ["x"] -> [] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %c = fastml.constant <"f32 2 : 1.5 2.5"> : tensor<2xf32>
  %a = fastml.relu "a"(%x) : (tensor<1x2x4x!fastml.fixed<s8, 4>>) -> tensor<1x2x4xf32>
  %m = fastml.reduce "m"(%a) max over [-1] : tensor<1x2x4xf32> -> tensor<1x2x1xf32>
  %f = fastml.rearrange "f"(%m) : (tensor<1x2x1xf32>) -> tensor<1x2xf32>
  %n = fastml.mul "n"(%f, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  %q = fastml.quantise "q"(%n) floor 0 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<u4, 1>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the extremum 'm' of real numbers: the quantiser has a zero point, or a scale by element; fix: quantise the operands of 'm'
fastml.network @case_8 ["x"] -> [] {
^bb0(%x: tensor<1x2x4x!fastml.fixed<s8, 4>>):
  %a = fastml.relu "a"(%x) : (tensor<1x2x4x!fastml.fixed<s8, 4>>) -> tensor<1x2x4xf32>
  %m = fastml.extremum "m"(%a, %x) max : (tensor<1x2x4xf32>, tensor<1x2x4x!fastml.fixed<s8, 4>>) -> tensor<1x2x4xf32>
  %q = fastml.quantise "q"(%m) floor 0 to 7 : tensor<1x2x4xf32> -> tensor<1x2x4x!fastml.scaled<u4, #fastml.array<"f32 scalar : 0.3">, #fastml.array<"i64 scalar : 3">>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the join 'm' of real numbers: the quantiser's parameters have more axes; fix: quantise the operands of 'm'
fastml.network @case_9 ["x", "y"] -> [] {
^bb0(%x: tensor<1x1x2x!fastml.fixed<s8, 4>>, %y: tensor<1x1x2x!fastml.fixed<s8, 4>>):
  %a = fastml.relu "a"(%x) : (tensor<1x1x2x!fastml.fixed<s8, 4>>) -> tensor<1x1x2xf32>
  %b = fastml.relu "b"(%y) : (tensor<1x1x2x!fastml.fixed<s8, 4>>) -> tensor<1x1x2xf32>
  %m = fastml.rearrange "m"(%a, %b) by <"i64 4 : 0 1 2 3"> : (tensor<1x1x2xf32>, tensor<1x1x2xf32>) -> tensor<1x2x2xf32>
  %q = fastml.quantise "q"(%m) floor 0 to 7 : tensor<1x2x2xf32> -> tensor<1x1x2x2x!fastml.scaled<u4, #fastml.array<"f32 1x1x1x1 : 0.5">, #fastml.array<"i64 scalar : 0">>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the join 'm' of real numbers: the scale differs between elements; fix: quantise the operands of 'm'
fastml.network @case_10 ["x", "y"] -> [] {
^bb0(%x: tensor<1x1x2x!fastml.fixed<s8, 4>>, %y: tensor<1x1x2x!fastml.fixed<s8, 4>>):
  %a = fastml.relu "a"(%x) : (tensor<1x1x2x!fastml.fixed<s8, 4>>) -> tensor<1x1x2xf32>
  %b = fastml.relu "b"(%y) : (tensor<1x1x2x!fastml.fixed<s8, 4>>) -> tensor<1x1x2xf32>
  %m = fastml.rearrange "m"(%a, %b) by <"i64 4 : 0 1 2 3"> : (tensor<1x1x2xf32>, tensor<1x1x2xf32>) -> tensor<1x2x2xf32>
  %q = fastml.quantise "q"(%m) floor 0 to 7 : tensor<1x2x2xf32> -> tensor<1x2x2x!fastml.scaled<u4, #fastml.array<"f32 2 : 0.5 1.5">, #fastml.array<"i64 scalar : 0">>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the join 'm' of real numbers: 'n' gives it more elements; fix: quantise the operands of 'm'
fastml.network @case_11 ["x", "y"] -> [] {
^bb0(%x: tensor<1x1x2x!fastml.fixed<s8, 4>>, %y: tensor<1x1x2x!fastml.fixed<s8, 4>>):
  %c = fastml.constant <"f32 3x1x1x1 : 1.5 2.5 3.5"> : tensor<3x1x1x1xf32>
  %a = fastml.relu "a"(%x) : (tensor<1x1x2x!fastml.fixed<s8, 4>>) -> tensor<1x1x2xf32>
  %b = fastml.relu "b"(%y) : (tensor<1x1x2x!fastml.fixed<s8, 4>>) -> tensor<1x1x2xf32>
  %m = fastml.rearrange "m"(%a, %b) by <"i64 4 : 0 1 2 3"> : (tensor<1x1x2xf32>, tensor<1x1x2xf32>) -> tensor<1x2x2xf32>
  %n = fastml.mul "n"(%m, %c) : (tensor<1x2x2xf32>, tensor<3x1x1x1xf32>) -> tensor<3x1x2x2xf32>
  %q = fastml.quantise "q"(%n) floor 0 to 7 : tensor<3x1x2x2xf32> -> tensor<3x1x2x2x!fastml.fixed<u4, 1>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the join 'm' of real numbers: 'n' has constants for each element; fix: quantise the operands of 'm'
fastml.network @case_12 ["x", "y"] -> [] {
^bb0(%x: tensor<1x1x2x!fastml.fixed<s8, 4>>, %y: tensor<1x1x2x!fastml.fixed<s8, 4>>):
  %c = fastml.constant <"f32 4 : 1.5 2.5 3.5 4.5"> : tensor<4xf32>
  %a = fastml.relu "a"(%x) : (tensor<1x1x2x!fastml.fixed<s8, 4>>) -> tensor<1x1x2xf32>
  %b = fastml.relu "b"(%y) : (tensor<1x1x2x!fastml.fixed<s8, 4>>) -> tensor<1x1x2xf32>
  %m = fastml.rearrange "m"(%a, %b) by <"i64 4 : 0 1 2 3"> : (tensor<1x1x2xf32>, tensor<1x1x2xf32>) -> tensor<1x2x2xf32>
  %f = fastml.rearrange "f"(%m) : (tensor<1x2x2xf32>) -> tensor<1x4xf32>
  %n = fastml.mul "n"(%f, %c) : (tensor<1x4xf32>, tensor<4xf32>) -> tensor<1x4xf32>
  %q = fastml.quantise "q"(%n) floor 0 to 7 : tensor<1x4xf32> -> tensor<1x4x!fastml.fixed<u4, 1>>
  fastml.output
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: it quantises the join 'm' of real numbers: 'n' has several constants for one element; fix: quantise the operands of 'm'
fastml.network @case_13 ["x", "y"] -> [] {
^bb0(%x: tensor<1x1x2x!fastml.fixed<s8, 4>>, %y: tensor<1x1x2x!fastml.fixed<s8, 4>>):
  %c = fastml.constant <"f32 4 : 1.5 2.5 3.5 4.5"> : tensor<4xf32>
  %a = fastml.relu "a"(%x) : (tensor<1x1x2x!fastml.fixed<s8, 4>>) -> tensor<1x1x2xf32>
  %b = fastml.relu "b"(%y) : (tensor<1x1x2x!fastml.fixed<s8, 4>>) -> tensor<1x1x2xf32>
  %m = fastml.rearrange "m"(%a, %b) by <"i64 4 : 0 0 2 3"> : (tensor<1x1x2xf32>, tensor<1x1x2xf32>) -> tensor<1x4xf32>
  %n = fastml.mul "n"(%m, %c) : (tensor<1x4xf32>, tensor<4xf32>) -> tensor<1x4xf32>
  %q = fastml.quantise "q"(%n) floor 0 to 7 : tensor<1x4xf32> -> tensor<1x4x!fastml.fixed<u4, 1>>
  fastml.output
}
