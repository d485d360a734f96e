// RUN: %fastml-opt %s -p hls-line-buffers | %filecheck %s --check-prefix=AFFINE
// RUN: %fastml-opt %s -p hls-line-buffers,hls-tiling -t hls | %filecheck %s
// RUN: %fastml-opt %s -p hls-line-buffers,hls-tiling -t 'hls{flavour=vivado}' | %filecheck %s --check-prefix=VIVADO
// RUN: %fastml-opt %s -p hls-line-buffers,hls-tiling -t 'hls{flavour=oneapi}' | %filecheck %s --check-prefix=ONEAPI

// A window becomes a loop over the positions of its image. The FIFO in front loses what the
// line and the registers hold.
// AFFINE:       "memref.global"() <{sym_name = "window_fill", {{.*}} dense<[-1, 7]>
// AFFINE-LABEL: func.func private @window(
// AFFINE-SAME:    fastml.window
// AFFINE:         [[LINE:%[0-9a-z]+]] = memref.alloc() {fastml.port = "line1", fastml.storage = "logic"} : memref<40x2xi4>
// AFFINE:         affine.for [[ROW:%[0-9a-z]+]] = 0 to 3 {
// AFFINE-NEXT:      affine.for [[COLUMN:%[0-9a-z]+]] = 0 to 40 {
// AFFINE:             affine.if affine_set<(d0, d1) : ((d0 + -1) >= 0)>([[ROW]], [[COLUMN]]) {
// AFFINE:             [[TOKEN:%[0-9a-z]+]] = affine.apply affine_map<(d0, d1) -> (((d0 * 40) + d1))> ([[ROW]], [[COLUMN]])
// AFFINE-NEXT:        memref.subview %{{.*}}{{\[}}[[TOKEN]], 0] [1, 2] [1, 1]
// AFFINE-NEXT:        "memref.copy"
// AFFINE:           } {fastml.pipeline = 1 : i64}

// An order becomes a loop with as many words as are out of it, rounded up.
// AFFINE:       "memref.global"() <{sym_name = "order_places", {{.*}} dense<[3, 2, 1, 5]>
// AFFINE-LABEL: func.func private @order(
// AFFINE-SAME:    fastml.reorder
// AFFINE:         memref.alloc() {{.*}} : memref<8x8xi5>
// AFFINE:         affine.for %{{.*}} = 0 to 120 {
// AFFINE:           affine.apply affine_map<(d0) -> ((d0 mod 8))>

// Beats that are copied element by element are copied as a whole.
// AFFINE-LABEL: func.func private @sum(
// AFFINE:           memref.subview
// AFFINE-NEXT:      "memref.copy"
// AFFINE-NEXT:      [[Q:%[0-9a-z]+]] = memref.alloc() {{.*}} : memref<1xi6>
// AFFINE-NEXT:      func.call @add(
// AFFINE-NEXT:      memref.subview
// AFFINE-NEXT:      "memref.copy"([[Q]],
// AFFINE-LABEL: func.func @design(
// AFFINE-SAME:    fastml.stream = 10 : i64},

// CHECK:        hls::stream<fastml::beat<ap_int<5>, 8> > windows("windows");
// CHECK-NEXT:   #pragma HLS stream variable=windows depth=9
// CHECK-LABEL:  //--- n_design_1.cpp
// CHECK:        void window(hls::stream<fastml::beat<ap_uint<4>, 2> > &x_stream, hls::stream<fastml::beat<ap_int<5>, 8> > &y_stream) {
// CHECK-NEXT:     ap_int<4> line1[40][2];
// CHECK-NEXT:   #pragma HLS array_reshape variable=line1 complete dim=2
// CHECK-NEXT:   #pragma HLS bind_storage variable=line1 type=ram_s2p impl=lutram
// CHECK-NEXT:     ap_int<5> window_2[2][2][2];
// CHECK-NEXT:   #pragma HLS array_partition variable=window_2 complete dim=0
// CHECK:          for (int i = 0; i < 3; i += 1) {
// CHECK-NEXT:       for (int j = 0; j < 40; j += 1) {
// CHECK-NEXT:   #pragma HLS pipeline II=1
// CHECK:            if (i >= 1) {
// CHECK:              window_2[0][1][k] = ap_uint<4>([[V:v[0-9]+]]);
// CHECK:            else {
// CHECK:              window_2[0][1][k] =
// CHECK:            fastml::take(x_stream, token);
// CHECK-NEXT:       for (int k = 0; k < 2; k += 1) {
// CHECK-NEXT:   #pragma HLS unroll
// CHECK-NEXT:         const ap_uint<4> [[TOKEN:v[0-9]+]] = token[k];
// CHECK-NEXT:         window_2[1][1][k] = [[TOKEN]];
// CHECK-NEXT:         line1[j][k] = [[TOKEN]];
// CHECK:            if (j >= 1) {
// CHECK:              result[((l * 4) + k)] =
// CHECK:            FASTML_TAP(0, result);
// CHECK-NEXT:       fastml::give(result, y_stream);
// CHECK:        void order(
// CHECK:            fastml::take(x_stream, tokens[(i % 8)]);
// CHECK-NEXT:       if (i >= 3 && i <= 6) {
// CHECK-NEXT:         const ap_int<4> [[PLACE:v[0-9]+]] = order_places[(i - 3)];
// CHECK:                = tokens{{\[}}[[PLACE]].to_int()][j];
// CHECK:        void sum(
// CHECK:            fastml::take(a_stream, scratch);
// CHECK-NEXT:       ap_int<6> q[1];
// CHECK-NEXT:       add(scratch, q);
// CHECK-NEXT:       fastml::give(q, b_stream);
// CHECK-NEXT:       FASTML_TAP(1, q);

// VIVADO:       #pragma HLS array_reshape variable=line1 complete dim=2
// VIVADO-NEXT:  #pragma HLS resource variable=line1 core=RAM_S2P_LUTRAM

// Without streams, tokens come from an array of them, and go to one.
// ONEAPI:       void window(const ac_int<4, false> x[120][2], ac_int<5, true> y[120][8]) {
// ONEAPI-NEXT:    {{\[\[}}intel::fpga_memory("MLAB"){{\]\]}}
// ONEAPI-NEXT:    ac_int<4, true> line1[40][2];
// ONEAPI:         {{\[\[}}intel::initiation_interval(1){{\]\]}}
// ONEAPI-NEXT:    for (int j = 0; j < 40; j += 1) {
// ONEAPI:           token[k] = x[((i * 40) + j)][k];

func.func private @window(
    %x : memref<120x2xi4> {fastml.port = "x", fastml.elements = "2 x u4", fastml.direction = "in"},
    %y : memref<120x8xi5> {fastml.name = "windows", fastml.port = "y", fastml.elements = "s5, u4, s5, u4, s5, 3 x u4", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 120 : i64, fastml.latency = 1 : i64,
      fastml.window = {size = dense<[3, 40]> : tensor<2xi64>,
        rows = dense<[[-1, 0], [0, 1], [1, 2]]> : tensor<3x2xi64>,
        cols = dense<[[-1, 0], [0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6], [6, 7], [7, 8], [8, 9], [9, 10], [10, 11], [11, 12], [12, 13], [13, 14], [14, 15], [15, 16], [16, 17], [17, 18], [18, 19], [19, 20], [20, 21], [21, 22], [22, 23], [23, 24], [24, 25], [25, 26], [26, 27], [27, 28], [28, 29], [29, 30], [30, 31], [31, 32], [32, 33], [33, 34], [34, 35], [35, 36], [36, 37], [37, 38], [38, 39]]> : tensor<40x2xi64>,
        fill = dense<[-1, 7]> : tensor<2xi64>}} {
  func.return
}
func.func private @order(
    %x : memref<120x8xi5> {fastml.port = "x", fastml.elements = "s5, u4, s5, u4, s5, 3 x u4", fastml.direction = "in"},
    %y : memref<4x8xi5> {fastml.port = "y", fastml.elements = "s5, u4, s5, u4, s5, 3 x u4", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 4 : i64, fastml.latency = 1 : i64,
      fastml.reorder = {index = dense<[3, 2, 1, 5]> : tensor<4xi64>, fill = dense<0> : tensor<8xi64>}} {
  func.return
}
func.func private @add(
    %p : memref<2xi5> {fastml.port = "p", fastml.elements = "2 x s5", fastml.direction = "in"},
    %q : memref<1xi6> {fastml.port = "q", fastml.elements = "s6", fastml.direction = "out"}) {
  %0 = affine.load %p[0] : memref<2xi5>
  %1 = affine.load %p[1] : memref<2xi5>
  %2 = arith.extsi %0 : i5 to i6
  %3 = arith.extsi %1 : i5 to i6
  %4 = arith.addi %2, %3 : i6
  affine.store %4, %q[0] : memref<1xi6>
  func.return
}
func.func private @sum(
    %a : memref<4x2xi5> {fastml.port = "a", fastml.elements = "2 x s5", fastml.direction = "in"},
    %b : memref<4x1xi6> {fastml.port = "b", fastml.elements = "s6", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 4 : i64, fastml.latency = 0 : i64} {
  affine.for %k = 0 to 4 {
    %p = memref.alloc() {fastml.elements = "2 x s5"} : memref<2xi5>
    %0 = affine.load %a[%k, 0] : memref<4x2xi5>
    affine.store %0, %p[0] : memref<2xi5>
    %1 = affine.load %a[%k, 1] : memref<4x2xi5>
    affine.store %1, %p[1] : memref<2xi5>
    %q = memref.alloc() {fastml.name = "sum", fastml.port = "q", fastml.elements = "s6"} : memref<1xi6>
    func.call @add(%p, %q) : (memref<2xi5>, memref<1xi6>) -> ()
    %2 = affine.load %q[0] : memref<1xi6>
    affine.store %2, %b[%k, 0] : memref<4x1xi6>
  } {fastml.pipeline = 1 : i64}
  func.return
}
func.func @design(
    %x : memref<120x2xi4> {fastml.name = "x", fastml.port = "x", fastml.elements = "2 x u4", fastml.direction = "in", fastml.stream = 50 : i64},
    %a : memref<4x2xi5> {fastml.name = "a", fastml.port = "a", fastml.elements = "2 x s5", fastml.direction = "in", fastml.stream = 3 : i64},
    %y : memref<4x8xi5> {fastml.name = "y", fastml.port = "y", fastml.elements = "s5, u4, s5, u4, s5, 3 x u4", fastml.direction = "out", fastml.stream = 2 : i64},
    %b : memref<4x1xi6> {fastml.name = "b", fastml.port = "b", fastml.elements = "s6", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 120 : i64, fastml.latency = 140 : i64} {
  %windows = memref.alloc() {fastml.port = "windows", fastml.elements = "s5, u4, s5, u4, s5, 3 x u4", fastml.stream = 124 : i64} : memref<120x8xi5>
  func.call @window(%x, %windows) : (memref<120x2xi4>, memref<120x8xi5>) -> ()
  func.call @order(%windows, %y) : (memref<120x8xi5>, memref<4x8xi5>) -> ()
  func.call @sum(%a, %b) : (memref<4x2xi5>, memref<4x1xi6>) -> ()
  func.return
}
