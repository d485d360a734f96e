// RUN: %fastml-opt %s -p hls-tiling -t hls | %filecheck %s
// RUN: %fastml-opt %s -p hls-tiling -t 'hls{interface=axis}' | %filecheck %s --check-prefix=AXIS
// RUN: %fastml-opt %s -p hls-tiling -t 'hls{flavour=vivado}' | %filecheck %s --check-prefix=VIVADO
// RUN: %fastml-opt %s -p hls-tiling -t 'hls{flavour=catapult}' | %filecheck %s --check-prefix=CATAPULT
// RUN: %fastml-opt %s -p hls-tiling -t 'hls{flavour=oneapi}' | %filecheck %s --check-prefix=ONEAPI

// A process is a function of streams, with an array for one beat of each. Of an argument with
// several beats a frame, the first index is the phase, and gone.
// CHECK-LABEL: //--- n_design_functions.h
// CHECK:         void gather(hls::stream<fastml::beat<ap_int<9>, 2> > &x_stream, hls::stream<fastml::beat<ap_int<9>, 5> > &y_stream);

// CHECK-LABEL: //--- n_design.cpp
// CHECK:         void n_design(hls::stream<fastml::beat<x_t, 2> > &x, hls::stream<fastml::beat<none_t, 1> > &none, hls::stream<fastml::beat<y_t, 2> > &y, hls::stream<fastml::beat<z_t, 5> > &z) {
// CHECK-NEXT:    #pragma HLS interface ap_ctrl_none port=return
// CHECK-NEXT:    #pragma HLS interface ap_fifo port=x
// CHECK-NEXT:    #pragma HLS interface ap_fifo port=none
// CHECK-NEXT:    #pragma HLS interface ap_fifo port=y
// CHECK-NEXT:    #pragma HLS interface ap_fifo port=z
// CHECK-NEXT:    #pragma HLS dataflow
// CHECK-NEXT:      fastml::skip(none, 3);
// CHECK-NEXT:      hls::stream<fastml::beat<ap_int<9>, 5> > whole("whole");
// CHECK-NEXT:    #pragma HLS stream variable=whole depth=4
// CHECK-NEXT:      gather(x, whole);
// CHECK-NEXT:      send(whole, y, z);
// CHECK-NEXT:    }

// CHECK-LABEL: //--- n_design_1.cpp
// CHECK:         void gather(
// CHECK-NEXT:      ap_int<9> x[2];
// CHECK-NEXT:    #pragma HLS array_partition variable=x complete dim=0
// CHECK-NEXT:      ap_int<9> y[5];
// CHECK-NEXT:    #pragma HLS array_partition variable=y complete dim=0
// CHECK-NEXT:      for (int i = 0; i < 3; i += 1) {
// CHECK-NEXT:    #pragma HLS pipeline II=1
// CHECK-NEXT:        fastml::take(x_stream, x);
// CHECK-NEXT:        const ap_int<9> [[FIRST:v[0-9]+]] = x[0];
// CHECK-NEXT:        y[(i * 2)] = [[FIRST]];
// CHECK-NEXT:        if (
// CHECK-NEXT:          const ap_int<9> [[SECOND:v[0-9]+]] = x[1];
// CHECK-NEXT:          y[((i * 2) + 1)] = [[SECOND]];
// CHECK-NEXT:        }
// CHECK-NEXT:        if (i % 3 == 2) {
// CHECK-NEXT:          FASTML_TAP(0, y); fastml::give(y, y_stream);
// CHECK-NEXT:        }
// CHECK-NEXT:      }
// CHECK-NEXT:    }

// CHECK:         void send(
// CHECK:           for (int i = 0; i < 3; i += 1) {
// CHECK-NEXT:    #pragma HLS pipeline II=2
// CHECK-NEXT:        if (i % 3 == 0) {
// CHECK-NEXT:          fastml::take(w_stream, w);
// CHECK-NEXT:        }
// CHECK:             FASTML_TAP(1, kept);
// CHECK-NEXT:        FASTML_TAP(2, y); fastml::give(y, y_stream);
// CHECK-NEXT:        if (i % 3 == 2) {
// CHECK-NEXT:          fastml::give(z, z_stream);

// CHECK-LABEL: //--- n_design_streams.h
// CHECK:         #include <hls_stream.h>

// AXIS:          #pragma HLS interface axis port=x

// VIVADO:        #pragma HLS data_pack variable=x
// VIVADO:        #pragma HLS stream variable=whole depth=4
// VIVADO-NEXT:   #pragma HLS data_pack variable=whole

// CATAPULT:      #pragma hls_design top
// CATAPULT-NEXT: void n_design(ac_channel<fastml::beat<x_t, 2> > &x,
// CATAPULT:        static ac_channel<fastml::beat<ac_int<9, true>, 5> > whole;
// CATAPULT:      #pragma hls_design{{$}}
// CATAPULT-NEXT: void gather(
// CATAPULT:        #pragma hls_pipeline_init_interval 1
// CATAPULT-NEXT:   for (int i = 0; i < 3; i += 1) {

// Without streams, processes pass arrays of beats, and what they give is seen there.
// ONEAPI:        void n_design(const x_t x[3][2], const none_t none[3][1], y_t y[3][2], z_t z[5]) {
// ONEAPI:          ac_int<9, true> whole[5];
// ONEAPI-NEXT:     gather(x, whole);
// ONEAPI-NEXT:     FASTML_TAP(0, whole);
// ONEAPI-NEXT:     send(whole, y, z);
// ONEAPI:        void gather(const ac_int<9, true> x[3][2], ac_int<9, true> y[5]) {
// ONEAPI:              = x[i][0];

func.func private @gather(
    %x : memref<3x2xi9> {fastml.port = "x", fastml.elements = "2 x s9", fastml.direction = "in"},
    %y : memref<5xi9> {fastml.name = "whole", fastml.port = "y", fastml.elements = "5 x s9", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 0 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x2xi9>
    affine.store %0, %y[%k * 2] : memref<5xi9>
    affine.if affine_set<(d0) : (1 - d0 >= 0)>(%k) {
      %1 = affine.load %x[%k, 1] : memref<3x2xi9>
      affine.store %1, %y[%k * 2 + 1] : memref<5xi9>
    }
  } {fastml.pipeline = 1 : i64}
  func.return
}
func.func private @send(
    %w : memref<5xi9> {fastml.port = "w", fastml.elements = "5 x s9", fastml.direction = "in"},
    %y : memref<3x2xi10> {fastml.name = "sent", fastml.port = "y", fastml.elements = "2 x s10", fastml.direction = "out"},
    %z : memref<5xi9> {fastml.port = "z", fastml.elements = "5 x s9", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 6 : i64, fastml.latency = 0 : i64} {
  affine.for %k = 0 to 3 {
    %kept = memref.alloc() {fastml.name = "kept", fastml.port = "kept", fastml.elements = "2 x s10"} : memref<2xi10>
    %0 = affine.load %w[%k * 2] : memref<5xi9>
    %1 = affine.load %w[(%k * 2 + 1) mod 5] : memref<5xi9>
    %2 = arith.extsi %0 : i9 to i10
    %3 = arith.extsi %1 : i9 to i10
    %4 = arith.addi %2, %3 : i10
    affine.store %4, %kept[0] : memref<2xi10>
    affine.store %3, %kept[1] : memref<2xi10>
    affine.store %4, %y[%k, 0] : memref<3x2xi10>
    affine.store %3, %y[%k, 1] : memref<3x2xi10>
    affine.store %0, %z[%k * 2] : memref<5xi9>
    affine.if affine_set<(d0) : (1 - d0 >= 0)>(%k) {
      affine.store %1, %z[%k * 2 + 1] : memref<5xi9>
    }
  } {fastml.pipeline = 2 : i64}
  func.return
}
func.func @design(
    %x : memref<3x2xi9> {fastml.name = "x", fastml.port = "x", fastml.elements = "2 x s9", fastml.direction = "in", fastml.stream = 2 : i64},
    %none : memref<3x1xi4> {fastml.name = "none", fastml.port = "none", fastml.elements = "u4", fastml.direction = "in", fastml.stream = 1 : i64},
    %y : memref<3x2xi10> {fastml.name = "y", fastml.port = "y", fastml.elements = "2 x s10", fastml.direction = "out", fastml.stream = 2 : i64},
    %z : memref<5xi9> {fastml.name = "z", fastml.port = "z", fastml.elements = "5 x s9", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 6 : i64, fastml.latency = 10 : i64} {
  %whole = memref.alloc() {fastml.name = "whole.fifo", fastml.port = "whole", fastml.elements = "5 x s9", fastml.stream = 4 : i64} : memref<5xi9>
  func.call @gather(%x, %whole) : (memref<3x2xi9>, memref<5xi9>) -> ()
  func.call @send(%whole, %y, %z) : (memref<5xi9>, memref<3x2xi10>, memref<5xi9>) -> ()
  func.return
}
