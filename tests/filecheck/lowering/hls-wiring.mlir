// RUN: %fastml-opt %s --split-input-file -p "qflow-solve,qflow-schedule,qflow-to-affine,hls-wiring{partition=3}" | %filecheck %s
// RUN: %fastml-opt %s --split-input-file -p "qflow-solve,qflow-schedule,qflow-to-affine,hls-wiring{partition=3},check-schedule" | %filecheck %s
// RUN: %fastml-opt %s --split-input-file -p "qflow-solve,qflow-schedule,qflow-to-affine,hls-wiring" | %filecheck %s --check-prefix ANY

// Windows of more elements than a tool splits are read from the image, constants included.
// ANY-LABEL:   func.func @windows
// ANY:           memref.alloc() {{.*}}"w"{{.*}} : memref<4xi5>
// CHECK-LABEL: func.func @windows
// CHECK-NEXT:    func.call @dense_d(%{{.*}}, %{{.*}}) : (memref<2xi5>, memref<2xi7>) -> ()
// CHECK-NOT:   func.func private @rearrange_w
// CHECK-LABEL: func.func private @dense_d({{.*}}memref<2xi5> {fastml.port = "x{{[_0-9]*}}"
// CHECK-DAG:     arith.constant 3 : i5
// CHECK-DAG:     affine.load %{{.*}}[1] : memref<2xi5>
// CHECK-NOT:     affine.load %{{.*}}[2]
// CHECK:         func.return
qflow.graph @windows ["x"] -> ["d"] {
^bb0(%x: !qflow.channel<pulse, 2, "-8..7, -16..15">):
  %w = qflow.rearrange "w"(%x) {index = #fastml.array<"i64 4 : 0 2 0 1">, fill = #fastml.array<"i64 1 : 3">} : (!qflow.channel<pulse, 2, "-8..7, -16..15">) -> !qflow.channel<pulse, 4, "-8..7, 3..3, -8..7, -16..15">
  %d = qflow.dense "d"(%w) {matrix = #fastml.array<"i64 2x1 : 1 2">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 4, "-8..7, 3..3, -8..7, -16..15"> -> !qflow.channel<pulse, 2, "-2..13, -40..37">
  qflow.yield %d : !qflow.channel<pulse, 2, "-2..13, -40..37">
}

// -----

// Wiring of wiring goes as well; an output stays an array.
// CHECK-LABEL: func.func @chain
// CHECK-NEXT:    func.call @rearrange_r(%{{.*}}, %{{.*}}) : (memref<2xi4>, memref<4xi4>) -> ()
// CHECK-NEXT:    return
qflow.graph @chain ["x"] -> ["r"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x -8..7">):
  %w = qflow.rearrange "w"(%x) {index = #fastml.array<"i64 4 : 0 1 1 0">} : (!qflow.channel<pulse, 2, "2 x -8..7">) -> !qflow.channel<pulse, 4, "4 x -8..7">
  %r = qflow.rearrange "r"(%w) {index = #fastml.array<"i64 4 : 3 2 1 0">} : (!qflow.channel<pulse, 4, "4 x -8..7">) -> !qflow.channel<pulse, 4, "4 x -8..7">
  qflow.yield %r : !qflow.channel<pulse, 4, "4 x -8..7">
}

// -----

// Arithmetic is no wiring, and an array that fits stays.
// CHECK-LABEL: func.func @kept
// CHECK:         memref.alloc() {{.*}}"w"{{.*}} : memref<3xi4>
// CHECK:         memref.alloc() {{.*}}"n"{{.*}} : memref<4xi5>
qflow.graph @kept ["x"] -> ["s"] {
^bb0(%x: !qflow.channel<pulse, 4, "4 x -8..7">):
  %w = qflow.rearrange "w"(%x) {index = #fastml.array<"i64 3 : 0 1 3">} : (!qflow.channel<pulse, 4, "4 x -8..7">) -> !qflow.channel<pulse, 3, "3 x -8..7">
  %n = qflow.combine "n"(%x) {coefficients = #fastml.array<"i64 1x4 : -1 -1 -1 -1">, bias = #fastml.array<"i64 4 : 0 0 0 0">} : (!qflow.channel<pulse, 4, "4 x -8..7">) -> !qflow.channel<pulse, 4, "4 x -7..8">
  %s = qflow.rearrange "s"(%w, %n) {index = #fastml.array<"i64 2 : 2 4">} : (!qflow.channel<pulse, 3, "3 x -8..7">, !qflow.channel<pulse, 4, "4 x -7..8">) -> !qflow.channel<pulse, 2, "-8..7, -7..8">
  qflow.yield %s : !qflow.channel<pulse, 2, "-8..7, -7..8">
}
