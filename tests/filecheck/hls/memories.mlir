// RUN: %fastml-opt %s -p hls-tiling -t hls | %filecheck %s
// RUN: %fastml-opt %s -p hls-tiling -t 'hls{flavour=oneapi}' | %filecheck %s --check-prefix=ONEAPI
// RUN: %fastml-opt %s -p hls-tiling -t 'hls{flavour=catapult}' | %filecheck %s --check-prefix=CATAPULT

// The functions of the stages come in files of their own; the header declares them.
// CHECK-LABEL: //--- n_design_functions.h
// CHECK:         void stage(const ap_int<6> x[2], ap_int<7> y[2]);

// What a function writes to is read into variables while that may change, and where it is
// needed after the last write.
// CHECK-LABEL: //--- n_design.cpp
// CHECK:         void n_design(const x_t x[2], y_t y[2]) {
// CHECK:           ap_int<7> layer[2];
// CHECK-NEXT:    #pragma HLS array_partition variable=layer complete dim=0
// CHECK-NEXT:      stage(x, layer);
// CHECK-NEXT:      y[0] = layer[0];
// CHECK-NEXT:      const ap_int<7> [[OLD:v[0-9]+]] = y[0];
// CHECK-NEXT:      y[0] = layer[1];
// CHECK-NEXT:      const ap_int<7> [[SUM:v[0-9]+]] = [[OLD]] + layer[0];
// CHECK-NEXT:      y[1] = [[SUM]];
// CHECK-NEXT:      FASTML_TAP(0, layer);
// CHECK-NEXT:    }

// A constant memory is an array of the smallest builtin type, read into its own.
// CHECK-LABEL: //--- n_design_1.cpp
// CHECK:         // 6 words of 5 bits
// CHECK-NEXT:    static const int8_t n_table[3][2] = {
// CHECK-NEXT:      {1, -2},
// CHECK-NEXT:      {3, 4},
// CHECK-NEXT:      {-16, 15},
// CHECK-NEXT:    };
// CHECK:         void stage(const ap_int<6> x[2], ap_int<7> y[2]) {
// CHECK-NEXT:    #pragma HLS pipeline II=1
// CHECK-NEXT:    #pragma HLS array_partition variable=x complete dim=0
// CHECK-NEXT:    #pragma HLS array_partition variable=y complete dim=0
// CHECK-NEXT:      const ap_int<5> [[WORD:v[0-9]+]] = n_table[2][1];
// CHECK-NEXT:      const ap_int<7> {{v[0-9]+}} = x[0] + [[WORD]];

// ONEAPI-LABEL: //--- n_design.cpp
// ONEAPI:         {{\[\[}}intel::fpga_register{{\]\]}}
// ONEAPI-NEXT:    ac_int<7, true> layer[2];

// CATAPULT-LABEL: //--- n_design.cpp
// CATAPULT:       #pragma hls_design top
// CATAPULT-NEXT:  #pragma hls_pipeline_init_interval 1
// CATAPULT-NEXT:  void n_design(const x_t x[2], y_t y[2]) {
// CATAPULT-NEXT:    ac_int<7, true> layer[2];
// CATAPULT:       #pragma hls_design inline
// CATAPULT-NEXT:  #pragma hls_pipeline_init_interval 1
// CATAPULT-NEXT:  void stage(

"memref.global"() <{sym_name = "table", sym_visibility = "private", constant, type = memref<3x2xi5>, initial_value = dense<[[1, -2], [3, 4], [-16, 15]]> : tensor<3x2xi5>}> : () -> ()
func.func private @stage(
    %x : memref<2xi6> {fastml.port = "x", fastml.elements = "2 x s6", fastml.direction = "in"},
    %y : memref<2xi7> {fastml.port = "y", fastml.elements = "2 x s7", fastml.direction = "out"}
) {
  %table = memref.get_global @table : memref<3x2xi5>
  %x0 = affine.load %x[0] : memref<2xi6>
  %w = affine.load %table[2, 1] : memref<3x2xi5>
  %0 = arith.extsi %x0 : i6 to i7
  %1 = arith.extsi %w : i5 to i7
  %2 = arith.addi %0, %1 : i7
  affine.store %2, %y[0] : memref<2xi7>
  affine.store %0, %y[1] : memref<2xi7>
  func.return
}
func.func @design(
    %x : memref<2xi6> {fastml.name = "x", fastml.port = "x", fastml.elements = "2 x s6", fastml.direction = "in"},
    %y : memref<2xi7> {fastml.name = "y", fastml.port = "y", fastml.elements = "2 x s7", fastml.direction = "out"}
) attributes {fastml.top, fastml.ii = 1 : i64, fastml.latency = 0 : i64} {
  %layer = memref.alloc() {fastml.name = "layer", fastml.port = "layer", fastml.elements = "2 x s7"} : memref<2xi7>
  func.call @stage(%x, %layer) : (memref<2xi6>, memref<2xi7>) -> ()
  %0 = affine.load %layer[0] : memref<2xi7>
  %1 = affine.load %layer[1] : memref<2xi7>
  affine.store %0, %y[0] : memref<2xi7>
  %old = affine.load %y[0] : memref<2xi7>
  affine.store %1, %y[0] : memref<2xi7>
  %2 = arith.addi %old, %0 : i7
  affine.store %2, %y[1] : memref<2xi7>
  func.return
}
