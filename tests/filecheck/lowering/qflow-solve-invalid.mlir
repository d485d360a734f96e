// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p qflow-solve | %filecheck %s

// CHECK: error[FML-WIDTH] {{.*}}'qflow.dense': edge 'y' multiplies by a constant of more than 62 bits; fix: {{.*}}
qflow.graph @dense ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 4611686018427387904">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..4611686018427387904">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..4611686018427387904">
}

// -----

// CHECK: error[FML-WIDTH] {{.*}}'qflow.combine': edge 'y' multiplies by a constant of more than 62 bits
qflow.graph @combine ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.combine "y"(%x) {coefficients = #fastml.array<"int 1x1 : -18446744073709551616">, bias = #fastml.array<"i64 1 : 0">} : (!qflow.channel<pulse, 1, "0..1">) -> !qflow.channel<pulse, 1, "-18446744073709551616..0">
  qflow.yield %y : !qflow.channel<pulse, 1, "-18446744073709551616..0">
}
