// A dense layer of 3 x 2 products, one a cycle: read, multiply, accumulate.
// RUN: %fastml-opt %s -p affine-to-hw | %filecheck %s

"memref.global"() <{sym_name = "w", sym_visibility = "private", constant, type = memref<2x3xi5>,
  initial_value = dense<[[1, -2, 3], [4, -16, 15]]> : tensor<2x3xi5>}> : () -> ()

// CHECK-LABEL: hw.module @dense(in %clk: !seq.clock, in %rst: i1, in %valid: i1, in %x: i18, out done: i1, out y: i22)
func.func private @dense(
    %x : memref<3xi6> {fastml.port = "x", fastml.elements = "3 x s6", fastml.direction = "in"},
    %y : memref<2xi11> {fastml.port = "y", fastml.elements = "2 x s11", fastml.direction = "out"})
    attributes {fastml.ii = 6 : i64, fastml.latency = 9 : i64} {
  // The beat is held.
  // CHECK: [[HELD:%.*]] = seq.compreg [[NEXT:%.*]], %clk : i18
  // CHECK: [[NEXT]] = comb.mux %valid, %x, [[HELD]] : i18
  // The loops begin a cycle later, in which the counters run.
  // CHECK: [[BEGIN:%.*]] = seq.compreg %valid, %clk reset %rst, {{%.*}} : i1
  // CHECK: [[BUSY:%.*]] = seq.compreg {{%.*}}, %clk reset %rst, {{%.*}} : i1
  // CHECK: comb.or [[BEGIN]], [[BUSY]] : i1
  // Both loops address the weights, in order: one counter from 0 to 5, no multiplier.
  // CHECK: [[ADDRESS:%.*]] = seq.compreg {{%.*}}, %clk reset %rst, {{%.*}} : i3
  // CHECK: [[ROM:%.*]] = hw.aggregate_constant [15 : i5, -16 : i5, 4 : i5, 3 : i5, -2 : i5, 1 : i5]
  // CHECK: [[W:%.*]] = hw.array_get [[ROM]][[[ADDRESS]]]
  %w = memref.get_global @w : memref<2x3xi5>
  %zero = arith.constant 0 : i11
  affine.for %j = 0 to 2 {
    // CHECK: seq.compreg [[W]], %clk : i5
    // CHECK: [[P:%.*]] = comb.mul {{%.*}}, {{%.*}} : i11
    // CHECK: [[RP:%.*]] = seq.compreg [[P]], %clk : i11
    // CHECK-NOT: comb.mul
    %sum = affine.for %i = 0 to 3 iter_args(%part = %zero) -> (i11) {
      %0 = affine.load %x[%i] : memref<3xi6>
      %1 = affine.load %w[%j, %i] : memref<2x3xi5>
      %2 = arith.extsi %0 : i6 to i11
      %3 = arith.extsi %1 : i5 to i11
      %4 = arith.muli %2, %3 {fastml.start = 1 : i64} : i11
      %5 = arith.addi %part, %4 {fastml.start = 2 : i64} : i11
      affine.yield %5 : i11
    } {fastml.pipeline = 1 : i64}
    affine.store %sum, %y[%j] : memref<2xi11>
  } {fastml.pipeline = 3 : i64, fastml.start = 1 : i64}
  func.return
}

// CHECK-LABEL: hw.module @design
func.func @design(
    %x : memref<3xi6> {fastml.name = "x", fastml.port = "x",
                       fastml.elements = "3 x s6", fastml.direction = "in"},
    %y : memref<2xi11> {fastml.name = "y", fastml.port = "y",
                        fastml.elements = "2 x s11", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 6 : i64, fastml.latency = 9 : i64} {
  // The loops say themselves when they are done: no shift register of nine cycles.
  // CHECK-NOT: seq.compreg
  // CHECK: [[DONE:%.*]], [[Y:%.*]] = hw.instance "dense" @dense(clk: %clk: !seq.clock, rst: %rst: i1, valid: %x_valid: i1, x: %x: i18) -> (done: i1, y: i22)
  // CHECK: hw.output [[DONE]], [[Y]] : i1, i22
  func.call @dense(%x, %y) : (memref<3xi6>, memref<2xi11>) -> ()
  func.return
}
