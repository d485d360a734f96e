// RUN: %fastml-opt %s | %filecheck %s
// RUN: %fastml-opt %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %filecheck %s --check-prefix GENERIC

// CHECK-LABEL: fastml.network @convert ["x"] -> ["y"] {
fastml.network @convert ["x"] -> ["y"] {
^bb0(%x: tensor<1x2x!fastml.fixed<s12, 6>>):
  // CHECK: %y = fastml.convert "y"(%x) "rnd_conv" "sat" : tensor<1x2x!fastml.fixed<s12, 6>> -> tensor<1x2x!fastml.fixed<u5, 2>>
  // GENERIC: "fastml.convert"(%x) <{edge = "y", rounding = "rnd_conv", overflow = "sat"}>
  %y = fastml.convert "y"(%x) "rnd_conv" "sat" : tensor<1x2x!fastml.fixed<s12, 6>> -> tensor<1x2x!fastml.fixed<u5, 2>>
  fastml.output %y : tensor<1x2x!fastml.fixed<u5, 2>>
}
