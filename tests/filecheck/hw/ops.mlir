// RUN: %fastml-opt %s | %filecheck %s
// RUN: %fastml-opt %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %filecheck %s --check-prefix GENERIC

// CHECK-LABEL: hw.module @memories(
// GENERIC-LABEL: sym_name = "memories"
hw.module @memories(in %clk : !seq.clock, in %a : i3, in %d : i9, in %we : i1, out r : i9, out s : i9) {
  // CHECK-NEXT: %m = seq.firmem 0, 1, undefined, undefined : <5 x 9>
  // GENERIC: "seq.firmem"() <{readLatency = 0 : i32, writeLatency = 1 : i32, ruw = 0 : i32, wuw = 0 : i32}> : () -> !seq.firmem<5 x 9>
  %m = seq.firmem 0, 1, undefined, undefined : <5 x 9>
  // CHECK-NEXT: %n = seq.firmem 1, 1, old, port_order {sv.namehint = "store"} : <5 x 9>
  %n = seq.firmem 1, 1, old, port_order {sv.namehint = "store"} : <5 x 9>
  // CHECK-NEXT: %o = seq.firmem 1, 1, new, undefined : <1 x 9>
  %o = seq.firmem 1, 1, new, undefined : <1 x 9>
  // CHECK-NEXT: %r = seq.firmem.read_port %m[%a], clock %clk : <5 x 9>
  %r = seq.firmem.read_port %m[%a], clock %clk : <5 x 9>
  // CHECK-NEXT: %s = seq.firmem.read_port %n[%a], clock %clk enable %we {sv.namehint = "late"} : <5 x 9>
  // GENERIC: "seq.firmem.read_port"(%n, %a, %clk, %we) {sv.namehint = "late"} : (!seq.firmem<5 x 9>, i3, !seq.clock, i1) -> i9
  %s = seq.firmem.read_port %n[%a], clock %clk enable %we {sv.namehint = "late"} : <5 x 9>
  // CHECK-NEXT: seq.firmem.write_port %m[%a] = %d, clock %clk : <5 x 9>
  seq.firmem.write_port %m[%a] = %d, clock %clk : <5 x 9>
  // CHECK-NEXT: seq.firmem.write_port %n[%a] = %d, clock %clk enable %we : <5 x 9>
  // GENERIC: "seq.firmem.write_port"(%n, %a, %clk, %we, %d) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 0>}>
  seq.firmem.write_port %n[%a] = %d, clock %clk enable %we : <5 x 9>
  hw.output %r, %s : i9, i9
}

// CHECK-LABEL: hw.module @tables(
hw.module @tables(in %a : i2, in %x : i8, out y : i4, out p : i1, out w : i8) {
  // CHECK-NEXT: %t = hw.aggregate_constant [1 : i4, -2 : i4, 3 : i4] : !hw.array<3xi4>
  %t = hw.aggregate_constant [1 : i4, -2 : i4, 3 : i4] : !hw.array<3xi4>
  // CHECK-NEXT: %e = hw.array_get %t[%a] : !hw.array<3xi4>, i2
  %e = hw.array_get %t[%a] : !hw.array<3xi4>, i2
  // CHECK-NEXT: %p = comb.parity %x : i8
  %p = comb.parity %x : i8
  // CHECK-NEXT: %q = comb.parity bin %x {sv.namehint = "odd"} : i8
  %q = comb.parity bin %x {sv.namehint = "odd"} : i8
  // CHECK-NEXT: %v = hw.wire %x name "seen" {sv.namehint = "seen"} : i8
  %v = hw.wire %x name "seen" {sv.namehint = "seen"} : i8
  // CHECK-NEXT: %w = hw.wire %v : i8
  %w = hw.wire %v : i8
  hw.output %e, %p, %w : i4, i1, i8
}
