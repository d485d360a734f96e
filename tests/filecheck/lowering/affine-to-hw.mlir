// RUN: %fastml-opt %s -p affine-to-hw | %filecheck %s
// RUN: %fastml-opt %s -p affine-to-hw | %fastml-opt --print-op-generic | %fastml-opt | %filecheck %s

// What the module says of itself: where and when each named edge can be watched.
// CHECK: builtin.module attributes {fastml.taps = {
// CHECK-SAME: "sum; and difference" = {signal = "hidden", elements = "s9, u4", cycles = array<i64: 1, 0>}

// CHECK-LABEL: hw.module @stage(in %clk: !seq.clock, in %a: i16, out b: i13)
func.func private @stage(
    %x : memref<2xi8> {fastml.port = "a", fastml.elements = "2 x s8", fastml.direction = "in"},
    %y : memref<2xi9> {fastml.port = "b", fastml.elements = "s9, u4", fastml.direction = "out"}) {
  // Elements of the packed beat, element 0 in the low bits.
  // CHECK-DAG: [[X0:%.*]] = comb.extract %a from 0 : (i16) -> i8
  // CHECK-DAG: [[X1:%.*]] = comb.extract %a from 8 : (i16) -> i8
  %0 = affine.load %x[0] : memref<2xi8>
  %1 = affine.load %x[1] : memref<2xi8>
  %2 = arith.extsi %0 : i8 to i9
  %3 = arith.extsi %1 : i8 to i9
  // The values wait a cycle, not their extensions.
  // CHECK-DAG: [[R0:%.*]] = seq.compreg [[X0]], %clk : i8
  // CHECK-DAG: [[R1:%.*]] = seq.compreg [[X1]], %clk : i8
  // CHECK-DAG: [[S0:%.*]] = comb.extract [[R0]] from 7 : (i8) -> i1
  // CHECK-DAG: [[E0:%.*]] = comb.concat [[S0]], [[R0]] : i1, i8
  // CHECK: [[SUM:%.*]] = comb.add [[E0]], {{%.*}} : i9
  %4 = arith.addi %2, %3 {fastml.start = 1 : i64} : i9
  affine.store %4, %y[0] : memref<2xi9>
  // Truncation to the width of the element drops the extension again.
  // CHECK: [[LOW:%.*]] = comb.extract [[X1]] from 0 : (i8) -> i4
  %5 = arith.trunci %3 : i9 to i4
  %6 = arith.extui %5 : i4 to i9
  affine.store %6, %y[1] : memref<2xi9>
  // CHECK: [[BEAT:%.*]] = comb.concat [[LOW]], [[SUM]] : i4, i9
  // CHECK-NEXT: hw.output [[BEAT]] : i13
  func.return
}

// A stage without registers has no clock.
// CHECK-LABEL: hw.module @wires(in %x: i13, out y: i9)
func.func private @wires(
    %x : memref<2xi9> {fastml.port = "x", fastml.elements = "s9, u4", fastml.direction = "in"},
    %y : memref<1xi9> {fastml.port = "y", fastml.elements = "s9", fastml.direction = "out"}) {
  // CHECK-NEXT: [[Y:%.*]] = comb.extract %x from 0
  // CHECK-NEXT: hw.output [[Y]] : i9
  %0 = affine.load %x[0] : memref<2xi9>
  affine.store %0, %y[0] : memref<1xi9>
  func.return
}

// CHECK-LABEL: hw.module @design(in %clk: !seq.clock, in %rst: i1, in %x_valid: i1, in %x: i16, out y_valid: i1, out y: i9)
// CHECK-SAME: fastml.top
// CHECK-SAME: fastml.ii = 1 : i64, fastml.latency = 2 : i64
// CHECK-SAME: fastml.ports = {inputs = [{name = "in", port = "x", elements = "2 x s8"}], outputs = [{name = "out", port = "y", elements = "s9"}]}
func.func @design(
    %x : memref<2xi8> {fastml.name = "in", fastml.port = "x",
                       fastml.elements = "2 x s8", fastml.direction = "in"},
    %y : memref<1xi9> {fastml.name = "out", fastml.port = "y",
                       fastml.elements = "s9", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 1 : i64, fastml.latency = 2 : i64} {
  // CHECK: [[B:%.*]] = hw.instance "stage" @stage(clk: %clk: !seq.clock, a: %x: i16) -> (b: i13)
  // CHECK: [[WIRE:%.*]] = hw.wire [[B]] {sv.namehint = "hidden"} : i13
  %h = memref.alloc() {fastml.name = "sum; and difference", fastml.port = "hidden",
                       fastml.elements = "s9, u4"} : memref<2xi9>
  func.call @stage(%x, %h) : (memref<2xi8>, memref<2xi9>) -> ()
  // CHECK: [[Y:%.*]] = hw.instance "wires" @wires(x: [[WIRE]]: i13) -> (y: i9)
  func.call @wires(%h, %y) : (memref<2xi9>, memref<1xi9>) -> ()
  // CHECK: [[EARLY:%.*]] = hw.wire [[Y]] {sv.namehint = "y_early"} : i9
  // Two cycles of valid, which reset clears; the data waits one, without reset.
  // CHECK: [[V1:%.*]] = seq.compreg %x_valid, %clk reset %rst, {{%.*}} : i1
  // CHECK: [[V2:%.*]] = seq.compreg [[V1]], %clk reset %rst, {{%.*}} : i1
  // CHECK: [[LATE:%.*]] = seq.compreg [[EARLY]], %clk : i9
  // CHECK: hw.output [[V2]], [[LATE]] : i1, i9
  func.return
}
