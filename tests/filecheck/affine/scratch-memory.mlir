// Two loops that hand a beat over in a memory: doubled, then reversed.
// RUN: %fastml-opt %s | %filecheck %s
// RUN: %fastml-opt %s --print-op-generic | %fastml-opt -p check-schedule | %filecheck %s

// CHECK: func.func @top
func.func @top(
    %x : memref<4xi6> {fastml.name = "x", fastml.port = "x",
                       fastml.elements = "4 x s6", fastml.direction = "in"},
    %y : memref<4xi7> {fastml.name = "y", fastml.port = "y",
                       fastml.elements = "4 x s7", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 8 : i64, fastml.latency = 11 : i64} {
  // CHECK: memref.alloc() {fastml.elements = "4 x s7"} : memref<4xi7>
  %t = memref.alloc() {fastml.elements = "4 x s7"} : memref<4xi7>
  affine.for %i = 0 to 4 {
    %0 = affine.load %x[%i] : memref<4xi6>
    %1 = arith.extsi %0 : i6 to i7
    %2 = arith.addi %1, %1 {fastml.start = 1 : i64} : i7
    // CHECK: memref.store {{.*}} {fastml.start = 1 : i64} : memref<4xi7>
    memref.store %2, %t[%i] {fastml.start = 1 : i64} : memref<4xi7>
  } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64}
  %c3 = arith.constant 3 : index
  affine.for %i = 0 to 4 {
    %k = arith.subi %c3, %i : index
    // CHECK: memref.load {{.*}} {fastml.start = 1 : i64} : memref<4xi7>
    %0 = memref.load %t[%k] {fastml.start = 1 : i64} : memref<4xi7>
    affine.store %0, %y[%i] : memref<4xi7>
  } {fastml.pipeline = 1 : i64, fastml.start = 5 : i64}
  func.return
}
