// RUN: %fastml-opt %s --split-input-file --parsing-diagnostics --verify-diagnostics | %filecheck %s

// CHECK: has 2 fields for an array of 3
hw.module @fields() {
  %t = hw.aggregate_constant [1 : i4, 2 : i4] : !hw.array<3xi4>
  hw.output
}

// -----

// CHECK: field 2 : i5 is not of type i4
hw.module @field_type() {
  %t = hw.aggregate_constant [1 : i4, 2 : i5] : !hw.array<2xi4>
  hw.output
}

// -----

// CHECK: a memory has at least one word of one bit
hw.module @empty() {
  %m = seq.firmem 0, 1, undefined, undefined : <0 x 9>
  hw.output
}

// -----

// CHECK: memories with a write mask are not supported
hw.module @mask() {
  %m = seq.firmem 0, 1, undefined, undefined : <8 x 8, mask 2>
  hw.output
}

// -----

// CHECK: read latency is 0 or 1
hw.module @read_latency() {
  %m = seq.firmem 2, 1, undefined, undefined : <8 x 8>
  hw.output
}

// -----

// CHECK: write latency is 1
hw.module @write_latency() {
  %m = seq.firmem 0, 2, undefined, undefined : <8 x 8>
  hw.output
}

// -----

// CHECK: expected a collision rule
hw.module @rule() {
  %m = seq.firmem 0, 1, random, undefined : <8 x 8>
  hw.output
}

// -----

// CHECK: unknown read-under-write behaviour
hw.module @ruw() {
  %m = "seq.firmem"() <{readLatency = 0 : i32, writeLatency = 1 : i32, ruw = 3 : i32, wuw = 0 : i32}> : () -> !seq.firmem<8 x 8>
  hw.output
}

// -----

// CHECK: unknown write-under-write behaviour
hw.module @wuw() {
  %m = "seq.firmem"() <{readLatency = 0 : i32, writeLatency = 1 : i32, ruw = 0 : i32, wuw = 2 : i32}> : () -> !seq.firmem<8 x 8>
  hw.output
}

// -----

// CHECK: address is i2, the memory needs i3
hw.module @address(in %clk : !seq.clock, in %a : i2) {
  %m = seq.firmem 0, 1, undefined, undefined : <8 x 8>
  %r = "seq.firmem.read_port"(%m, %a, %clk) : (!seq.firmem<8 x 8>, i2, !seq.clock) -> i8
  hw.output
}

// -----

// CHECK: data does not have the width of the memory
hw.module @data(in %clk : !seq.clock, in %a : i3) {
  %m = seq.firmem 0, 1, undefined, undefined : <8 x 8>
  %r = "seq.firmem.read_port"(%m, %a, %clk) : (!seq.firmem<8 x 8>, i3, !seq.clock) -> i9
  hw.output
}

// -----

// CHECK: data does not have the width of the memory
hw.module @written(in %clk : !seq.clock, in %a : i3, in %d : i7) {
  %m = seq.firmem 0, 1, undefined, undefined : <8 x 8>
  "seq.firmem.write_port"(%m, %a, %clk, %d) <{operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 0>}> : (!seq.firmem<8 x 8>, i3, !seq.clock, i7) -> ()
  hw.output
}

// -----

// CHECK: memories with a write mask are not supported
hw.module @masked(in %clk : !seq.clock, in %a : i3, in %d : i8, in %k : i2) {
  %m = seq.firmem 0, 1, undefined, undefined : <8 x 8>
  "seq.firmem.write_port"(%m, %a, %clk, %d, %k) <{operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1>}> : (!seq.firmem<8 x 8>, i3, !seq.clock, i8, i2) -> ()
  hw.output
}
