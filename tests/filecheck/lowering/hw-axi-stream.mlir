// RUN: %fastml-opt %s -p hw-axi-stream | %filecheck %s

// Elements take whole bytes; the last of three beats is marked.

hw.module @pass(in %clk : !seq.clock, in %rst : i1, in %x_valid : i1, in %x : i13,
    in %y_ready : i1, out x_ready : i1, out y_valid : i1, out y : i13)
    attributes {fastml.top, fastml.ii = 1 : i64, fastml.latency = 0 : i64, fastml.ports = {
      inputs = [{name = "in", port = "x", elements = "s10, u3", protocol = "rv", beats = 3 : i64}],
      outputs = [{name = "out", port = "y", elements = "s10, u3", protocol = "rv", beats = 3 : i64}]
    }} {
  hw.output %y_ready, %x_valid, %x : i1, i1, i13
}

// CHECK: hw.module @pass(
// CHECK: hw.module @pass_axis(in %aclk: !seq.clock, in %aresetn: i1, in %s_axis_x_tvalid: i1, in %s_axis_x_tdata: i24, in %s_axis_x_tlast: i1, in %m_axis_y_tready: i1, out s_axis_x_tready: i1, out m_axis_y_tvalid: i1, out m_axis_y_tdata: i24, out m_axis_y_tlast: i1)
// CHECK-SAME: elements = "s16, u8", protocol = "axis", beats = 3 : i64
// CHECK: [[rst:%.*]] = comb.xor %aresetn
// CHECK: [[e0:%.*]] = comb.extract %s_axis_x_tdata from 0 :  (i24) -> i10
// CHECK: [[e1:%.*]] = comb.extract %s_axis_x_tdata from 16 :  (i24) -> i3
// CHECK: [[x:%.*]] = comb.concat [[e1]], [[e0]] : i3, i10
// CHECK: [[ready:%.*]], [[valid:%.*]], [[y:%.*]] = hw.instance "core" @pass(clk: %aclk: !seq.clock, rst: [[rst]]: i1, x_valid: %s_axis_x_tvalid: i1, x: [[x]]: i13, y_ready: %m_axis_y_tready: i1)
// CHECK: [[data:%.*]] = comb.concat {{.*}} : i5, i3, i6, i10
// CHECK: [[count:%.*]] = seq.compreg {{.*}}, %aclk reset [[rst]]{{.*}} {sv.namehint = "y_beat"} : i2
// CHECK: [[two:%.*]] = hw.constant -2 : i2
// CHECK: [[last:%.*]] = comb.icmp eq [[count]], [[two]] : i2
// CHECK: hw.output [[ready]], [[valid]], [[data]], [[last]] : i1, i1, i24, i1
