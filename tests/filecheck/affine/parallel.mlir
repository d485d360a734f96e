// A function without loops: wiring and arithmetic in the cycles of the design.
// RUN: %fastml-opt %s | %filecheck %s
// RUN: %fastml-opt %s --print-op-generic | %fastml-opt -p check-schedule | %filecheck %s

// CHECK:      func.func private @stage(%x: memref<2xi8> {fastml.elements = "2 x s8", fastml.direction = "in"},
// CHECK-SAME:   %y: memref<2xi9> {fastml.elements = "2 x s9", fastml.direction = "out"})
func.func private @stage(
    %x : memref<2xi8> {fastml.elements = "2 x s8", fastml.direction = "in"},
    %y : memref<2xi9> {fastml.elements = "2 x s9", fastml.direction = "out"}) {
  %0 = affine.load %x[0] : memref<2xi8>
  %1 = affine.load %x[1] : memref<2xi8>
  %2 = arith.extsi %0 : i8 to i9
  %3 = arith.extsi %1 : i8 to i9
  // CHECK: arith.addi {{.*}} {fastml.start = 2 : i64} : i9
  %4 = arith.addi %2, %3 {fastml.start = 2 : i64} : i9
  %5 = arith.subi %2, %3 : i9
  affine.store %4, %y[0] : memref<2xi9>
  affine.store %5, %y[1] : memref<2xi9>
  func.return
}

// CHECK: func.func @top(%x: memref<2xi8> {fastml.name = "x",
// CHECK: attributes {{{.*}}fastml.top{{.*}}}
func.func @top(
    %x : memref<2xi8> {fastml.name = "x", fastml.port = "x",
                       fastml.elements = "2 x s8", fastml.direction = "in"},
    %y : memref<1xi9> {fastml.name = "y", fastml.port = "y",
                       fastml.elements = "s9", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 1 : i64, fastml.latency = 4 : i64} {
  // CHECK: memref.alloc() {{{.*}}fastml.name = "sum; and difference"{{.*}}} : memref<2xi9>
  %h = memref.alloc() {fastml.name = "sum; and difference", fastml.port = "h",
                       fastml.elements = "2 x s9"} : memref<2xi9>
  func.call @stage(%x, %h) : (memref<2xi8>, memref<2xi9>) -> ()
  %0 = affine.load %h[0] : memref<2xi9>
  %1 = affine.load %h[1] : memref<2xi9>
  %2 = arith.maxsi %0, %1 {fastml.start = 3 : i64} : i9
  affine.store %2, %y[0] : memref<1xi9>
  func.return
}
