// RUN: %fastml-opt %s | %filecheck %s
// RUN: %fastml-opt %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %filecheck %s --check-prefix GENERIC

// CHECK-LABEL: fastml.network @types ["fixed", "wide", "scaled", "channels", "ratio", "bipolar", "real"] -> []
// GENERIC: sym_name = "types"
fastml.network @types ["fixed", "wide", "scaled", "channels", "ratio", "bipolar", "real"] -> [] {
// CHECK-NEXT: ^bb0(
// CHECK-SAME: tensor<1x2x!fastml.fixed<s8, -3>>
// CHECK-SAME: tensor<1x2x!fastml.fixed<u100, 120>>
// CHECK-SAME: tensor<1x2x!fastml.scaled<u8, #fastml.array<"f32 scalar : 0.1">, #fastml.array<"i64 scalar : 77">>>
// CHECK-SAME: tensor<1x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 0.1 3.0">, #fastml.array<"i64 2 : -1 2">>>
// CHECK-SAME: tensor<1x2x!fastml.ratio<u8, 255>>
// CHECK-SAME: tensor<1x2x!fastml.bipolar<#fastml.array<"f32 scalar : 0.5">>>
// CHECK-SAME: tensor<1x2xf32>
^bb0(%a: tensor<1x2x!fastml.fixed<s8, -3>>,
     %b: tensor<1x2x!fastml.fixed<u100, 120>>,
     %c: tensor<1x2x!fastml.scaled<u8, #fastml.array<"f32 scalar : 0.1">, #fastml.array<"i64 scalar : 77">>>,
     %d: tensor<1x2x!fastml.scaled<s4, #fastml.array<"f32 2 : 0.1 3.0">, #fastml.array<"i64 2 : -1 2">>>,
     %e: tensor<1x2x!fastml.ratio<u8, 255>>,
     %f: tensor<1x2x!fastml.bipolar<#fastml.array<"f32 scalar : 0.5">>>,
     %g: tensor<1x2xf32>):
  // CHECK-NEXT: fastml.output
  fastml.output
}

// CHECK-LABEL: fastml.network @layers ["x", "y"] -> ["p", "q"] latency 3 ii 1 {
fastml.network @layers ["x", "y"] -> ["p", "q"] latency 3 ii 1 {
^bb0(%x: tensor<1x3x!fastml.fixed<s4, 1>>, %y: tensor<1x3xf32>):
  // CHECK: %w = fastml.constant <"i64 3x2 : 1 -2 3 0 5 -6"> : tensor<3x2x!fastml.fixed<s4, 2>>
  // GENERIC: "fastml.constant"() <{value = #fastml.array<"i64 3x2 : 1 -2 3 0 5 -6">}> : () -> tensor<3x2x!fastml.fixed<s4, 2>>
  %w = fastml.constant <"i64 3x2 : 1 -2 3 0 5 -6"> : tensor<3x2x!fastml.fixed<s4, 2>>
  // CHECK-NEXT: %c = fastml.constant <"f32 2 : 0.1 -2.5"> : tensor<2xf32>
  %c = fastml.constant <"f32 2 : 0.1 -2.5"> : tensor<2xf32>
  // CHECK-NEXT: %huge = fastml.constant <"int scalar : 36893488147419103232"> : tensor<!fastml.fixed<u66, 0>>
  %huge = fastml.constant <"int scalar : 36893488147419103232"> : tensor<!fastml.fixed<u66, 0>>
  // CHECK-NEXT: %large = fastml.constant <"i64 40 z {{[A-Za-z0-9+/=]+}}"> : tensor<40x!fastml.fixed<u1, 0>>
  %large = fastml.constant <"i64 40 z eJxjYIAARgZUMMonjg8ADcAAFQ=="> : tensor<40x!fastml.fixed<u1, 0>>

  // CHECK-NEXT: %m = fastml.matmul "m"(%x, %w) : tensor<1x3x!fastml.fixed<s4, 1>>, tensor<3x2x!fastml.fixed<s4, 2>> -> tensor<1x2x!fastml.fixed<s9, 3>>
  // GENERIC: "fastml.matmul"(%{{.*}}, %{{.*}}) <{edge = "m"}>
  %m = fastml.matmul "m"(%x, %w) : tensor<1x3x!fastml.fixed<s4, 1>>, tensor<3x2x!fastml.fixed<s4, 2>> -> tensor<1x2x!fastml.fixed<s9, 3>>
  // CHECK-NEXT: %add = fastml.add "an \22edge\22; of any name"(%m, %c) : (tensor<1x2x!fastml.fixed<s9, 3>>, tensor<2xf32>) -> tensor<1x2xf32>
  %add = fastml.add "an \22edge\22; of any name"(%m, %c) : (tensor<1x2x!fastml.fixed<s9, 3>>, tensor<2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: %sub = fastml.sub "sub"(%add, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  %sub = fastml.sub "sub"(%add, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: %mul = fastml.mul "mul"(%sub, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  %mul = fastml.mul "mul"(%sub, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: %div = fastml.div "div"(%mul, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  %div = fastml.div "div"(%mul, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: %pow = fastml.pow "pow"(%div, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  %pow = fastml.pow "pow"(%div, %c) : (tensor<1x2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: %norm = fastml.batch_norm "norm"(%pow, %c, %c, %c, %c) {epsilon = 1.000000e-05 : f32} : (tensor<1x2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  %norm = fastml.batch_norm "norm"(%pow, %c, %c, %c, %c) {epsilon = 1.000000e-05 : f32} : (tensor<1x2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: %relu = fastml.relu "relu"(%norm) : (tensor<1x2xf32>) -> tensor<1x2xf32>
  %relu = fastml.relu "relu"(%norm) : (tensor<1x2xf32>) -> tensor<1x2xf32>
  // CHECK-NEXT: %q = fastml.quantise "q"(%relu) half_even -7 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s4, 1>>
  // GENERIC: "fastml.quantise"(%{{.*}}) <{edge = "q", rounding = #fastml<rounding half_even>, low = #builtin.int<-7>, high = #builtin.int<7>}>
  %q = fastml.quantise "q"(%relu) half_even -7 to 7 : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s4, 1>>
  // CHECK-NEXT: %s = fastml.sum "s"(%q, %m) [1, -1] : (tensor<1x2x!fastml.fixed<s4, 1>>, tensor<1x2x!fastml.fixed<s9, 3>>) -> tensor<1x2x!fastml.fixed<s10, 3>>
  // GENERIC: signs = [#builtin.int<1>, #builtin.int<-1>]
  %s = fastml.sum "s"(%q, %m) [1, -1] : (tensor<1x2x!fastml.fixed<s4, 1>>, tensor<1x2x!fastml.fixed<s9, 3>>) -> tensor<1x2x!fastml.fixed<s10, 3>>
  // CHECK-NEXT: %p = fastml.product "pp"(%q, %q) : tensor<1x2x!fastml.fixed<s4, 1>>, tensor<1x2x!fastml.fixed<s4, 1>> -> tensor<1x2x!fastml.fixed<s8, 2>>
  %p = fastml.product "pp"(%q, %q) : tensor<1x2x!fastml.fixed<s4, 1>>, tensor<1x2x!fastml.fixed<s4, 1>> -> tensor<1x2x!fastml.fixed<s8, 2>>
  // CHECK-NEXT: %r = fastml.rearrange "r"(%q, %q) by <"i64 4 : 3 0 1 2"> : (tensor<1x2x!fastml.fixed<s4, 1>>, tensor<1x2x!fastml.fixed<s4, 1>>) -> tensor<1x2x2x!fastml.fixed<s4, 1>>
  %r = fastml.rearrange "r"(%q, %q) by <"i64 4 : 3 0 1 2"> : (tensor<1x2x!fastml.fixed<s4, 1>>, tensor<1x2x!fastml.fixed<s4, 1>>) -> tensor<1x2x2x!fastml.fixed<s4, 1>>
  // CHECK-NEXT: %flat = fastml.rearrange "flat"(%r) : (tensor<1x2x2x!fastml.fixed<s4, 1>>) -> tensor<1x4x!fastml.fixed<s4, 1>>
  %flat = fastml.rearrange "flat"(%r) : (tensor<1x2x2x!fastml.fixed<s4, 1>>) -> tensor<1x4x!fastml.fixed<s4, 1>>
  // CHECK-NEXT: %cast = fastml.exact_cast "cast"(%flat) : tensor<1x4x!fastml.fixed<s4, 1>> -> tensor<1x4x!fastml.fixed<s6, 3>>
  %cast = fastml.exact_cast "cast"(%flat) : tensor<1x4x!fastml.fixed<s4, 1>> -> tensor<1x4x!fastml.fixed<s6, 3>>
  // CHECK-NEXT: %prob = fastml.softmax "prob"(%y) over [-2, -1] : tensor<1x3xf32> -> tensor<1x3xf32>
  %prob = fastml.softmax "prob"(%y) over [-2, -1] : tensor<1x3xf32> -> tensor<1x3xf32>
  // CHECK-NEXT: fastml.output %cast, %prob : tensor<1x4x!fastml.fixed<s6, 3>>, tensor<1x3xf32>
  fastml.output %cast, %prob : tensor<1x4x!fastml.fixed<s6, 3>>, tensor<1x3xf32>
}

// CHECK-LABEL: fastml.network @roundings
fastml.network @roundings ["x"] -> [] {
^bb0(%x: tensor<1xf32>):
  // CHECK: half_even 0 to 3
  %a = fastml.quantise "a"(%x) half_even 0 to 3 : tensor<1xf32> -> tensor<1x!fastml.fixed<u2, 0>>
  // CHECK: half_up 0 to 3
  %b = fastml.quantise "b"(%x) half_up 0 to 3 : tensor<1xf32> -> tensor<1x!fastml.fixed<u2, 0>>
  // CHECK: half_down 0 to 3
  %c = fastml.quantise "c"(%x) half_down 0 to 3 : tensor<1xf32> -> tensor<1x!fastml.fixed<u2, 0>>
  // CHECK: ceil 0 to 3
  %d = fastml.quantise "d"(%x) ceil 0 to 3 : tensor<1xf32> -> tensor<1x!fastml.fixed<u2, 0>>
  // CHECK: floor 0 to 3
  %e = fastml.quantise "e"(%x) floor 0 to 3 : tensor<1xf32> -> tensor<1x!fastml.fixed<u2, 0>>
  // CHECK: up 0 to 3
  %f = fastml.quantise "f"(%x) up 0 to 3 : tensor<1xf32> -> tensor<1x!fastml.fixed<u2, 0>>
  // CHECK: down 0 to 3
  %g = fastml.quantise "g"(%x) down 0 to 3 : tensor<1xf32> -> tensor<1x!fastml.fixed<u2, 0>>
  fastml.output
}
