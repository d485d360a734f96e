// A dense layer as a loop nest, one product in a cycle; the accumulator is carried.
// RUN: %fastml-opt %s | %filecheck %s
// RUN: %fastml-opt %s --print-op-generic | %fastml-opt -p check-schedule | %filecheck %s

// CHECK: "memref.global"() <{sym_name = "w"
"memref.global"() <{sym_name = "w", sym_visibility = "private", constant, type = memref<3x2xi5>,
  initial_value = dense<[[1, -2], [3, 4], [-16, 15]]> : tensor<3x2xi5>}> : () -> ()
"memref.global"() <{sym_name = "b", sym_visibility = "private", constant, type = memref<2xi9>,
  initial_value = dense<[100, -7]> : tensor<2xi9>}> : () -> ()

// CHECK: func.func private @dense(
// CHECK-SAME: attributes {fastml.ii = 6 : i64, fastml.latency = 7 : i64}
func.func private @dense(
    %x : memref<3xi6> {fastml.elements = "3 x s6", fastml.direction = "in"},
    %y : memref<2xi11> {fastml.elements = "2 x s11", fastml.direction = "out"})
    attributes {fastml.ii = 6 : i64, fastml.latency = 7 : i64} {
  %w = memref.get_global @w : memref<3x2xi5>
  %b = memref.get_global @b : memref<2xi9>
  // CHECK: affine.for %{{.*}} = 0 to 2 {
  affine.for %j = 0 to 2 {
    %0 = memref.load %b[%j] : memref<2xi9>
    %1 = arith.extsi %0 : i9 to i11
    // CHECK: affine.for %{{.*}} = 0 to 3 iter_args(%{{.*}}) -> (i11) {
    %2 = affine.for %i = 0 to 3 iter_args(%sum = %1) -> (i11) {
      %3 = affine.load %x[%i] : memref<3xi6>
      %4 = affine.load %w[%i, %j] : memref<3x2xi5>
      %5 = arith.extsi %3 : i6 to i11
      %6 = arith.extsi %4 : i5 to i11
      // CHECK: arith.muli {{.*}} {fastml.start = 0 : i64} : i11
      %7 = arith.muli %5, %6 {fastml.start = 0 : i64} : i11
      %8 = arith.addi %sum, %7 {fastml.start = 0 : i64} : i11
      affine.yield %8 : i11
    // CHECK: } {fastml.pipeline = 1 : i64}
    } {fastml.pipeline = 1 : i64}
    affine.store %2, %y[%j] : memref<2xi11>
  // CHECK: } {fastml.pipeline = 3 : i64, fastml.start = 1 : i64}
  } {fastml.pipeline = 3 : i64, fastml.start = 1 : i64}
  func.return
}

// CHECK: func.func @top
func.func @top(
    %x : memref<3xi6> {fastml.name = "x", fastml.port = "x",
                       fastml.elements = "3 x s6", fastml.direction = "in"},
    %y : memref<2xi11> {fastml.name = "y", fastml.port = "y",
                        fastml.elements = "2 x s11", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 6 : i64, fastml.latency = 8 : i64} {
  // CHECK: func.call @dense({{.*}}) {fastml.start = 1 : i64}
  func.call @dense(%x, %y) {fastml.start = 1 : i64} : (memref<3xi6>, memref<2xi11>) -> ()
  func.return
}
