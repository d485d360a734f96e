// RUN: %fastml-opt %s --split-input-file -p "qflow-solve,qflow-schedule{clock-ns=1.4},qflow-to-affine" | %filecheck %s
// RUN: %fastml-opt %s --split-input-file -p "qflow-solve,qflow-schedule{clock-ns=1.4},qflow-to-affine,check-schedule" | %filecheck %s

// The top function has a memory for each edge and calls a function for each stage.
// CHECK-LABEL: func.func @top(
// CHECK-SAME:    memref<2xi8> {fastml.name = "x 0", fastml.port = "x_0", fastml.elements = "2 x s8", fastml.direction = "in"}
// CHECK-SAME:    memref<1xi8> {fastml.name = "q", fastml.port = "{{.*}}", fastml.elements = "s8", fastml.direction = "out"}
// CHECK-SAME:    attributes {fastml.top, fastml.ii = 1 : i64, fastml.latency = 1 : i64}
// CHECK-NEXT:    [[Y:%.*]] = memref.alloc() {fastml.name = "y", fastml.port = "y", fastml.elements = "s10"} : memref<1xi10>
// CHECK-NEXT:    func.call @dense_y({{.*}}, [[Y]])
// CHECK-NEXT:    func.call @rescale_q([[Y]], {{.*}})
// CHECK-NEXT:    func.return

// An adder is as wide as the range of its sum.
// CHECK-LABEL: func.func private @dense_y
// CHECK-NEXT:    [[A:%.*]] = affine.load %{{.*}}[0] : memref<2xi8>
// CHECK-NEXT:    [[B:%.*]] = affine.load %{{.*}}[1] : memref<2xi8>
// CHECK:         [[SUM:%.*]] = arith.addi {{.*}} : i10
// CHECK-NEXT:    affine.store [[SUM]], %{{.*}}[0] : memref<1xi10>

// The half bit stays on below the result, so that rounding takes no adder of its own.
// CHECK-LABEL: func.func private @rescale_q
// CHECK:         [[IN:%.*]] = affine.load
// CHECK:         arith.cmpi ne
// CHECK:         arith.ori
// CHECK:         [[SUM:%.*]] = arith.addi {{.*}} : i9
// CHECK:         arith.shrui [[SUM]], {{.*}} : i9
// CHECK-NOT:     arith.addi
// CHECK:         func.return
qflow.graph @top ["x 0"] -> ["q"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x -128..127">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 2x1 : 1 2">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 2, "2 x -128..127"> -> !qflow.channel<pulse, 1, "-384..381">
  %q = qflow.rescale "q"(%y) half_even {offset = #fastml.array<"i64 1 : -32">, shift = #fastml.array<"i64 1 : 2">, low = #fastml.array<"i64 1 : -999">, high = #fastml.array<"i64 1 : 999">} : !qflow.channel<pulse, 1, "-384..381"> -> !qflow.channel<pulse, 1, "-104..87">
  qflow.yield %q : !qflow.channel<pulse, 1, "-104..87">
}

// -----

// An input that is an output is copied; a second output of the same channel, too.
// CHECK-LABEL: func.func @twice
// CHECK:         func.call @copy_x
// CHECK:         func.call @copy_x
// CHECK:       func.func private @copy_x
// CHECK-NEXT:    [[V:%.*]] = affine.load
// CHECK-NEXT:    affine.store [[V]]
qflow.graph @twice ["x"] -> ["a", "b"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..5">):
  qflow.yield %x, %x : !qflow.channel<pulse, 1, "0..5">, !qflow.channel<pulse, 1, "0..5">
}

// -----

// Thresholds below the range are counted, those above it dropped; of the one that is left
// only the bits that decide are compared.
// CHECK-LABEL: func.func private @threshold_t
// CHECK:         [[HIGH:%.*]] = arith.trunci {{.*}} : i5 to i2
// CHECK:         [[BIT:%.*]] = arith.cmpi uge, [[HIGH]], {{.*}} : i2
// CHECK:         arith.select [[BIT]], {{.*}} : i2
// CHECK-NOT:     arith.cmpi
// CHECK:         func.return
qflow.graph @thresholds ["x"] -> ["t"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..20">):
  %t = qflow.threshold "t"(%x) {thresholds = #fastml.array<"i64 1x3 : -3 8 99">, base = #fastml.array<"i64 1 : 1">, direction = #fastml.array<"i64 1 : 1">} : !qflow.channel<pulse, 1, "0..20"> -> !qflow.channel<pulse, 1, "2..3">
  qflow.yield %t : !qflow.channel<pulse, 1, "2..3">
}

// -----

// Elements narrower than their neighbours are extended by their own sign.
// CHECK-LABEL: func.func private @rearrange_r
// CHECK:         [[U:%.*]] = arith.trunci {{.*}} : i9 to i8
// CHECK-NEXT:    [[W:%.*]] = arith.extui [[U]] : i8 to i9
// CHECK-NEXT:    affine.store [[W]], {{.*}}[0] : memref<2xi9>
// CHECK:         [[S:%.*]] = arith.trunci {{.*}} : i9 to i2
// CHECK-NEXT:    [[W:%.*]] = arith.extsi [[S]] : i2 to i9
// CHECK-NEXT:    affine.store [[W]], {{.*}}[1] : memref<2xi9>
qflow.graph @containers ["x"] -> ["r"] {
^bb0(%x: !qflow.channel<pulse, 2, "-2..1, 0..255">):
  %r = qflow.rearrange "r"(%x) {index = #fastml.array<"i64 2 : 1 0">} : (!qflow.channel<pulse, 2, "-2..1, 0..255">) -> !qflow.channel<pulse, 2, "0..255, -2..1">
  qflow.yield %r : !qflow.channel<pulse, 2, "0..255, -2..1">
}

// -----

// A matrix at several positions is one function, called at each of them with memories as wide
// as the widest; constants come in the cycle in which the others do.
// CHECK-LABEL: func.func private @dense_d_kernel
// CHECK-SAME:    memref<2xi5> {fastml.port = "x", fastml.elements = "s4, s5", {{.*}}memref<1xi7> {fastml.port = "y", fastml.elements = "s7"
// CHECK-NOT:   func.call
// CHECK-LABEL: func.func private @dense_d
// CHECK:         [[A:%.*]] = memref.alloc() {fastml.elements = "s4, s5"} : memref<2xi5>
// CHECK:         [[R:%.*]] = memref.alloc() {fastml.elements = "s7"} : memref<1xi7>
// CHECK:         affine.store {{.*}}, [[A]][0]
// CHECK:         memref.store {{.*}}, [[A]][{{.*}}] {fastml.start = 0 : i64}
// CHECK:         func.call @dense_d_kernel([[A]], [[R]])
// CHECK:         affine.load [[R]][0]
// CHECK:         func.call @dense_d_kernel(
// CHECK-NOT:     func.call
// CHECK:         func.return
qflow.graph @positions ["x"] -> ["d"] {
^bb0(%x: !qflow.channel<pulse, 2, "-8..7, -16..15">):
  %w = qflow.rearrange "w"(%x) {index = #fastml.array<"i64 4 : 0 2 0 1">, fill = #fastml.array<"i64 1 : 3">} : (!qflow.channel<pulse, 2, "-8..7, -16..15">) -> !qflow.channel<pulse, 4, "-8..7, 3..3, -8..7, -16..15">
  %d = qflow.dense "d"(%w) {matrix = #fastml.array<"i64 2x1 : 1 2">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 4, "-8..7, 3..3, -8..7, -16..15"> -> !qflow.channel<pulse, 2, "-2..13, -40..37">
  qflow.yield %d : !qflow.channel<pulse, 2, "-2..13, -40..37">
}

// -----

// Comparators are those of upstream, signed only where they must be.
// CHECK-LABEL: func.func private @maximum_m
// CHECK:         [[A:%.*]] = arith.maxsi {{.*}} : i4
// CHECK:         func.return
// CHECK-LABEL: func.func private @maximum_n
// CHECK:         [[A:%.*]] = arith.minui {{.*}} : i3
qflow.graph @comparators ["x"] -> ["m", "n"] {
^bb0(%x: !qflow.channel<pulse, 3, "-8..7, 0..5, 0..7">):
  %m = qflow.maximum "m"(%x) max {index = #fastml.array<"i64 1x2 : 0 1">} : (!qflow.channel<pulse, 3, "-8..7, 0..5, 0..7">) -> !qflow.channel<pulse, 1, "0..7">
  %n = qflow.maximum "n"(%x) min {index = #fastml.array<"i64 1x3 : 1 2 1">} : (!qflow.channel<pulse, 3, "-8..7, 0..5, 0..7">) -> !qflow.channel<pulse, 1, "0..5">
  qflow.yield %m, %n : !qflow.channel<pulse, 1, "0..7">, !qflow.channel<pulse, 1, "0..5">
}
