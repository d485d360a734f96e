// Processes with credits, FIFOs between them; the design is nothing but their wires.
// RUN: %fastml-opt %S/../affine/dataflow.mlir -p affine-to-hw | %filecheck %s

// CHECK: fastml.taps = {x = {signal = "x", elements = "5 x s8", cycles = array<i64: 0, 0, 0, 0, 0>},
// CHECK-SAME: whole = {signal = "gather.y_early", elements = "5 x s9", cycles = array<i64: 0, 0, 0, 0, 0>, fire = "gather.y_fire"}

// A beat is sent in three phases, and popped with the last.
// CHECK-LABEL: hw.module @send(in %clk: !seq.clock, in %rst: i1, in %x_valid: i1, in %x: i40, in %y_ready: i1, out x_ready: i1, out y_valid: i1, out y: i16)
// CHECK: [[PHASE:%.*]] = seq.compreg {{.*}} reset %rst, {{.*}}"phase"
// CHECK: [[MAY:%.*]] = comb.and %x_valid, %y_ready : i1
// CHECK: [[FIRE:%.*]] = hw.wire [[MAY]] {sv.namehint = "fire"} : i1
// CHECK: hw.array_get {{%.*}}[[[PHASE]]] : !hw.array<3xi8>, i2
// CHECK: [[LAST:%.*]] = comb.icmp eq [[PHASE]], {{%.*}} : i2
// CHECK: [[POP:%.*]] = comb.and [[FIRE]], [[LAST]] : i1
// CHECK: hw.output [[POP]], [[FIRE]], {{%.*}} : i1, i1, i16

// The slot is reserved when the process fires; the beat comes a cycle later, with its valid bit.
// What has no latency needs no reservation of its own.
// CHECK-LABEL: hw.module @double(
// CHECK-SAME: out x_ready: i1, out y_reserve: i1, out y_valid: i1, out y: i18, out z_valid: i1, out z: i18)
// CHECK: [[FIRE:%.*]] = hw.wire {{%.*}} {sv.namehint = "fire"} : i1
// CHECK: [[PUSH:%.*]] = seq.compreg [[FIRE]], %clk reset %rst, {{%.*}} : i1
// CHECK: hw.output [[FIRE]], [[FIRE]], [[PUSH]], {{%.*}}, [[FIRE]], {{%.*}} : i1, i1, i1, i18, i1, i18

// Only the last phase needs a slot; what came before it waits in registers.
// CHECK-LABEL: hw.module @gather(
// CHECK: [[OTHER:%.*]] = comb.xor {{%.*}}, {{%.*}} : i1
// CHECK: [[MAY:%.*]] = comb.or %y_ready, [[OTHER]] : i1
// CHECK: comb.and %x_valid, [[MAY]] : i1

// CHECK-LABEL: hw.module @fifo_2x40(in %clk: !seq.clock, in %rst: i1, in %push: i1, in %push_data: i40, in %pop: i1, out ready: i1, out valid: i1, out data: i40)
// CHECK-LABEL: hw.module @credit_fifo_4x18(
// CHECK: seq.firmem 0, 1, old, undefined {sv.namehint = "beats"} : <4 x 18>

// CHECK-LABEL: hw.module @network(in %clk: !seq.clock, in %rst: i1, in %x_valid: i1, in %x: i40, in %y_ready: i1, in %z_ready: i1, out x_ready: i1, out y_valid: i1, out y: i45, out z_valid: i1, out z: i18)
// CHECK-SAME: fastml.ports = {inputs = [{name = "x", port = "x", elements = "5 x s8", protocol = "rv", beats = 1 : i64}]
// CHECK-SAME: {name = "z", port = "z", elements = "2 x s9", protocol = "rv", beats = 3 : i64}
// CHECK: [[READY:%.*]], [[VALID:%.*]], [[X:%.*]] = hw.instance "x_fifo" @fifo_2x40(clk: %clk: !seq.clock, rst: %rst: i1, push: [[PUSH:%.*]]: i1, push_data: %x: i40, pop: [[POP:%.*]]: i1)
// CHECK: [[PUSH]] = comb.and [[READY]], %x_valid : i1
// CHECK: [[POP]], {{%.*}}, {{%.*}} = hw.instance "send" @send({{.*}} x_valid: [[VALID]]: i1, x: [[X]]: i40
// CHECK: hw.output [[READY]]
