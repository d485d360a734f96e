// RUN: %fastml-opt %s --split-input-file -p "qflow-fold{reuse=2},qflow-solve,qflow-schedule" | %filecheck %s
// RUN: %fastml-opt %s --split-input-file -p "qflow-fold{reuse=2},qflow-solve,qflow-schedule,qflow-to-affine,check-schedule" | %filecheck %s --check-prefix=AFFINE

// A plan is chosen where there is only a reuse factor; a folded stage starts when its inputs
// are there, and what follows is scheduled from its end. Only parallel stages have adders.
// CHECK-LABEL: qflow.graph @mixed ["x"] -> ["z"] latency {{[0-9]+}} ii 4 {
// CHECK:         qflow.dense "y"(%x) {matrix = {{[^}]*}}architecture = #qflow.folded<4, in_step 1 x 2, multiplier, logic, [0, 1, 2, 2] in 7>, cycles = #fastml.array<"i64 4 : 7 7 7 7">}
// CHECK:         qflow.dense "z"({{.*}}) {matrix = {{[^}]*}}architecture = #qflow.parallel, graph = 

// The top function calls the loops in their cycle.
// AFFINE-LABEL: func.func @mixed(
// AFFINE-SAME:    fastml.ii = 4 : i64
// AFFINE:         func.call @dense_y({{.*}}) {fastml.start = 0 : i64}
// AFFINE:         func.call @dense_z({{[^)]*}}) :
// AFFINE:       "memref.global"() <{sym_name = "dense_y_weights", type = memref<2x4xi8>
// AFFINE:       func.func private @dense_y
// AFFINE-SAME:    fastml.ii = 4 : i64, fastml.latency = 7 : i64
// AFFINE:         affine.for %o = 0 to 4 {
// AFFINE:           [[A:%.*]] = affine.load %x[0]
// AFFINE-NEXT:      [[B:%.*]] = affine.load %x[1]
// AFFINE:           affine.load %weights[0, %o]
// AFFINE:           arith.muli
// AFFINE:           affine.load %weights[1, %o]
// AFFINE:           arith.muli
// AFFINE:           arith.addi
// AFFINE:           affine.store {{.*}}, %y[%o]
// AFFINE-NEXT:    } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64}
qflow.graph @mixed ["x"] -> ["z"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x -128..127">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 2x4 : 37 -90 81 55 101 -21 19 77">, bias = #fastml.array<"i64 4 : 0 0 0 0">, architecture = #qflow.folded<4>} : !qflow.channel<pulse, 2, "2 x -128..127"> -> !qflow.channel<pulse, 4, "-17664..17526, -14097..14208, -12800..12700, -16896..16764">
  %z = qflow.dense "z"(%y) {matrix = #fastml.array<"i64 4x1 : 1 1 1 1">, bias = #fastml.array<"i64 1 : 0">, architecture = #qflow.parallel} : !qflow.channel<pulse, 4, "-17664..17526, -14097..14208, -12800..12700, -16896..16764"> -> !qflow.channel<pulse, 1, "-61457..61198">
  qflow.yield %z : !qflow.channel<pulse, 1, "-61457..61198">
}

// -----

// Weights of few values are shifts and complements; the weights that are missing to the
// complements are part of what a sum starts with. A plan that is given stays.
// CHECK-LABEL: qflow.graph @few
// CHECK:         architecture = #qflow.folded<3, end_to_end 2 x 1, shift_add, logic, [1, 2, 2] in 5>
// AFFINE-LABEL: func.func @few(
// AFFINE:       func.func private @dense_y
// AFFINE:         affine.for %c = 0 to 3 iter_args(
// AFFINE:           [[AT:%.*]] = affine.load %select[0, %c]
// AFFINE-NEXT:      [[INDEX:%.*]] = arith.index_cast [[AT]] : i3 to index
// AFFINE-NEXT:      memref.load %x[[[INDEX]]] {fastml.start = 1 : i64}
// AFFINE-NOT:       arith.muli
// AFFINE:           arith.xori
// AFFINE:         } {fastml.pipeline = 1 : i64}
// AFFINE:         memref.store {{.*}}, %y[
qflow.graph @few ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 3, "3 x 0..3">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 3x2 : 1 -1 -1 1 0 2">, bias = #fastml.array<"i64 2 : 5 0">, architecture = #qflow.folded<3, end_to_end 2 x 1, shift_add, logic>} : !qflow.channel<pulse, 3, "3 x 0..3"> -> !qflow.channel<pulse, 2, "2..8, -3..9">
  qflow.yield %y : !qflow.channel<pulse, 2, "2..8, -3..9">
}
