// RUN: %fastml-opt %s -t hls | %filecheck %s --check-prefixes=CHECK,WIRES
// RUN: %fastml-opt %s -t 'hls{interface=axis}' | %filecheck %s --check-prefixes=CHECK,AXIS
// RUN: %fastml-opt %s -t 'hls{interface=axilite}' | %filecheck %s --check-prefixes=CHECK,LITE
// RUN: not %fastml-opt %s -t 'hls{flavour=oneapi interface=axilite}' 2>&1 | %filecheck %s --check-prefix=NONE
// RUN: not %fastml-opt %s -t 'hls{flavour=quartz}' 2>&1 | %filecheck %s --check-prefix=FLAVOUR

// CHECK:      typedef ap_uint<6> n_int_t;  // 2 x u6
// CHECK:      typedef ap_int<7> y_z_t;  // s7
// CHECK:      void n_design(const n_int_t n_int[2], y_z_t y_z[1]);

// CHECK:      void n_design(const n_int_t n_int[2], y_z_t y_z[1]) {
// WIRES-NEXT: #pragma HLS interface ap_ctrl_none port=return
// WIRES-NEXT: #pragma HLS interface ap_vld port=n_int
// WIRES-NEXT: #pragma HLS interface ap_vld port=y_z
// AXIS-NEXT:  #pragma HLS interface ap_ctrl_none port=return
// AXIS-NEXT:  #pragma HLS interface axis port=n_int
// AXIS-NEXT:  #pragma HLS interface axis port=y_z
// LITE-NEXT:  #pragma HLS interface s_axilite port=return bundle=control
// LITE-NEXT:  #pragma HLS interface s_axilite port=n_int bundle=control
// LITE-NEXT:  #pragma HLS interface s_axilite port=y_z bundle=control
// CHECK-NEXT: #pragma HLS pipeline II=3

// NONE: error[FML-OPTION] -t: oneAPI has no interface 'axilite' here; fix: choose from wires
// FLAVOUR: error[FML-USAGE] {{.*}}'quartz' is no flavour of HLS C++; fix: choose from vitis, vivado, oneapi, catapult

func.func @design(
    %x : memref<2xi6> {fastml.name = "int", fastml.port = "int", fastml.elements = "2 x u6", fastml.direction = "in"},
    %y : memref<1xi7> {fastml.name = "y/z", fastml.port = "y/z", fastml.elements = "s7", fastml.direction = "out"}
) attributes {fastml.top, fastml.ii = 3 : i64, fastml.latency = 0 : i64} {
  %0 = affine.load %x[0] : memref<2xi6>
  %1 = arith.extui %0 : i6 to i7
  affine.store %1, %y[0] : memref<1xi7>
  func.return
}
