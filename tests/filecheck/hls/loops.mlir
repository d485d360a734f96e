// RUN: %fastml-opt %s -t hls | %filecheck %s
// RUN: %fastml-opt %s -t 'hls{flavour=oneapi}' | %filecheck %s --check-prefix=ONEAPI
// RUN: %fastml-opt %s -t 'hls{flavour=catapult}' | %filecheck %s --check-prefix=CATAPULT

// Directives become the pragmas of the tool: inside of a loop for Xilinx, before it for the
// others. A loop around loops is paced by those inside, but for copies of their bodies.

// CHECK-LABEL: void n_design(const x_t x[4], y_t y[4]) {
// CHECK:       #pragma HLS dataflow
// CHECK:         ap_int<7> twice[4];
// CHECK-NEXT:  #pragma HLS array_partition variable=twice cyclic factor=2 dim=1
// CHECK-NEXT:  #pragma HLS stream variable=twice depth=8
// CHECK-NEXT:    for (int i = 0; i < 4; i += 1) {
// CHECK-NEXT:  #pragma HLS pipeline II=2
// CHECK-NEXT:  #pragma HLS unroll factor=2
// CHECK-NEXT:      const ap_int<6> [[X:v[0-9]+]] = x[i];
// CHECK-NEXT:      const ap_int<7> [[TWICE:v[0-9]+]] = [[X]] + [[X]];
// CHECK-NEXT:      twice[i] = [[TWICE]];
// CHECK-NEXT:    }

// Values that are carried are variables; several are handed on at once.
// CHECK-NEXT:    for (int i = 0; i < 4; i += 1) {
// CHECK-NEXT:  #pragma HLS pipeline II=3
// CHECK-NEXT:      const ap_int<7> [[T:v[0-9]+]] = twice[(3 - i)];
// CHECK-NEXT:      ap_int<9> [[A:v[0-9]+]] = [[T]];
// CHECK-NEXT:      ap_int<9> [[B:v[0-9]+]] = 1;
// CHECK-NEXT:      for (int j = 0; j < 3; j += 1) {
// CHECK-NEXT:  #pragma HLS pipeline II=1
// CHECK-NEXT:  #pragma HLS unroll
// CHECK-NEXT:        const ap_int<9> [[SUM:v[0-9]+]] = [[A]] + [[B]];
// CHECK-NEXT:        const ap_int<9> [[NEXTA:v[0-9]+]] = [[B]];
// CHECK-NEXT:        const ap_int<9> [[NEXTB:v[0-9]+]] = [[SUM]];
// CHECK-NEXT:        [[A]] = [[NEXTA]];
// CHECK-NEXT:        [[B]] = [[NEXTB]];
// CHECK-NEXT:      }
// CHECK-NEXT:      ap_int<9> [[RESULT:v[0-9]+]];
// CHECK-NEXT:      if ((i % 2) == 1) {
// CHECK-NEXT:        [[RESULT]] = [[A]];
// CHECK-NEXT:      }
// CHECK-NEXT:      else {
// CHECK-NEXT:        [[RESULT]] = [[B]];
// CHECK-NEXT:      }
// CHECK-NEXT:      y[((i / 2) * 2)] = [[RESULT]];

// ONEAPI:        {{\[\[}}intel::initiation_interval(2){{\]\]}}
// ONEAPI-NEXT:   #pragma unroll 2
// ONEAPI-NEXT:   for (int i = 0; i < 4; i += 1) {
// ONEAPI:        {{\[\[}}intel::initiation_interval(1){{\]\]}}
// ONEAPI-NEXT:   #pragma unroll{{$}}
// ONEAPI-NEXT:   for (int {{.*}} < 3;

// CATAPULT:      #pragma hls_pipeline_init_interval 2
// CATAPULT-NEXT: #pragma hls_unroll 2
// CATAPULT-NEXT: for (int i = 0; i < 4; i += 1) {
// CATAPULT:      #pragma hls_pipeline_init_interval 1
// CATAPULT-NEXT: #pragma hls_unroll yes
// CATAPULT-NEXT: for (int {{.*}} < 3;

func.func @design(
    %x : memref<4xi6> {fastml.name = "x", fastml.port = "x", fastml.elements = "4 x s6", fastml.direction = "in"},
    %y : memref<4xi9> {fastml.name = "y", fastml.port = "y", fastml.elements = "4 x s9", fastml.direction = "out"}
) attributes {fastml.top, fastml.dataflow, fastml.ii = 40 : i64, fastml.latency = 40 : i64} {
  %twice = memref.alloc() {fastml.port = "twice", fastml.elements = "4 x s7", fastml.partition = 2 : i64, fastml.stream = 8 : i64} : memref<4xi7>
  affine.for %i = 0 to 4 {
    %0 = affine.load %x[%i] : memref<4xi6>
    %1 = arith.extsi %0 : i6 to i7
    %2 = arith.addi %1, %1 : i7
    affine.store %2, %twice[%i] : memref<4xi7>
  } {fastml.pipeline = 2 : i64, fastml.start = 1 : i64, fastml.unroll = 2 : i64}
  %c3 = arith.constant 3 : index
  %one = arith.constant 1 : i9
  affine.for %j = 0 to 4 {
    %k = arith.subi %c3, %j : index
    %0 = memref.load %twice[%k] : memref<4xi7>
    %1 = arith.extsi %0 : i7 to i9
    %a, %b = affine.for %n = 0 to 3 iter_args(%p = %1, %q = %one) -> (i9, i9) {
      %s = arith.addi %p, %q : i9
      affine.yield %q, %s : i9, i9
    } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64, fastml.unroll}
    %2 = "affine.if"(%j) <{condition = affine_set<(d0) : (d0 mod 2 - 1 == 0)>}> ({
      affine.yield %a : i9
    }, {
      affine.yield %b : i9
    }) : (index) -> i9
    %h = affine.apply affine_map<(i) -> ((i floordiv 2) * 2)> (%j)
    memref.store %2, %y[%h] : memref<4xi9>
  } {fastml.pipeline = 3 : i64, fastml.start = 9 : i64}
  func.return
}
