// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p fastml-to-qflow | %filecheck %s

// CHECK: error[FML-UNQUANTISED] {{.*}}'fastml.network': no edge is quantised
fastml.network @nothing ["x"] -> ["r"] {
^bb0(%x: tensor<1x2xf32>):
  %r = fastml.relu "r"(%x) : (tensor<1x2xf32>) -> tensor<1x2xf32>
  fastml.output %r : tensor<1x2xf32>
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}'fastml.add': edge 'a' joins 2 varying edges in floating point; fix: quantise its operands
fastml.network @join ["x", "y"] -> ["q"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 2>>, %y: tensor<1x2x!fastml.fixed<s4, 2>>):
  %a = fastml.add "a"(%x, %y) : (tensor<1x2x!fastml.fixed<s4, 2>>, tensor<1x2x!fastml.fixed<s4, 2>>) -> tensor<1x2xf32>
  %q = fastml.quantise "q"(%a) half_even 0 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<u3, 1>>
  fastml.output %q : tensor<1x2x!fastml.fixed<u3, 1>>
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}'fastml.softmax': edge 's' mixes elements in floating point and is quantised later
fastml.network @softmax ["x"] -> ["q"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s4, 2>>):
  %s = fastml.softmax "s"(%x) over [-1] : tensor<1x2x!fastml.fixed<s4, 2>> -> tensor<1x2xf32>
  %q = fastml.quantise "q"(%s) half_even 0 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<u3, 1>>
  fastml.output %q : tensor<1x2x!fastml.fixed<u3, 1>>
}

// -----

// CHECK: error[FML-UNQUANTISED] {{.*}}: output 'a' needs an edge that never was an integer
fastml.network @mixed ["x"] -> ["a", "q"] {
^bb0(%x: tensor<1x2xf32>):
  %q = fastml.quantise "q"(%x) half_even 0 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<u3, 1>>
  %a = fastml.add "a"(%x, %q) : (tensor<1x2xf32>, tensor<1x2x!fastml.fixed<u3, 1>>) -> tensor<1x2xf32>
  fastml.output %a, %q : tensor<1x2xf32>, tensor<1x2x!fastml.fixed<u3, 1>>
}

// -----

// CHECK: error[FML-RANGE] {{.*}}'fastml.quantise': quantiser 'q' follows 'fastml.div', which gives an infinity in fp32
fastml.network @overflow ["x"] -> ["q"] {
^bb0(%x: tensor<1x1x!fastml.fixed<s4, 2>>):
  %c = fastml.constant <"f32 scalar : 0.0"> : tensor<f32>
  %d = fastml.div "d"(%x, %c) : (tensor<1x1x!fastml.fixed<s4, 2>>, tensor<f32>) -> tensor<1x1xf32>
  %q = fastml.quantise "q"(%d) half_even 0 to 7 : tensor<1x1xf32> -> tensor<1x1x!fastml.fixed<u3, 1>>
  fastml.output %q : tensor<1x1x!fastml.fixed<u3, 1>>
}

// -----

// CHECK: error[FML-RANGE] {{.*}}'fastml.quantise': quantiser 'q' follows a function that is not monotone, of too many values to tabulate; fix: quantise its input to 16 bits or fewer
fastml.network @wide_square ["x"] -> ["q"] {
^bb0(%x: tensor<1x1x!fastml.fixed<s18, 2>>):
  %c = fastml.constant <"f32 scalar : 2.0"> : tensor<f32>
  %p = fastml.pow "p"(%x, %c) : (tensor<1x1x!fastml.fixed<s18, 2>>, tensor<f32>) -> tensor<1x1xf32>
  %q = fastml.quantise "q"(%p) half_even 0 to 7 : tensor<1x1xf32> -> tensor<1x1x!fastml.fixed<u3, 1>>
  fastml.output %q : tensor<1x1x!fastml.fixed<u3, 1>>
}

// -----

// CHECK: error[FML-RANGE] {{.*}}'fastml.quantise': quantiser 'q' has {{[0-9]+}} levels
fastml.network @levels ["x"] -> ["q"] {
^bb0(%x: tensor<1x1x!fastml.fixed<s24, 2>>):
  %q = fastml.quantise "q"(%x) half_even 0 to 8388607 : tensor<1x1x!fastml.fixed<s24, 2>> -> tensor<1x1x!fastml.fixed<u23, 1>>
  fastml.output %q : tensor<1x1x!fastml.fixed<u23, 1>>
}
