// RUN: %fastml-opt %s -p hls-tiling -t hls | %filecheck %s
// RUN: %fastml-opt %s -p hls-tiling -t 'hls{flavour=vivado}' | %filecheck %s --check-prefix=VIVADO
// RUN: %fastml-opt %s -p hls-tiling -t 'hls{flavour=oneapi}' | %filecheck %s --check-prefix=ONEAPI
// RUN: %fastml-opt %s -p hls-tiling -t 'hls{flavour=catapult}' | %filecheck %s --check-prefix=CATAPULT

// A folded layer is a loop at its interval. Its weights have a row for each lane, which the
// tool must read at once; what they are made of is what the IR says. The array that several
// lanes write is split, too; the one that is read once an iteration is not.

// CHECK-LABEL: void fold(const ap_int<6> x[4], ap_int<12> y[8]) {
// CHECK-NEXT:  #pragma HLS array_partition variable=y complete dim=0
// CHECK-NEXT:  #pragma HLS array_partition variable=lanes complete dim=1
// CHECK-NEXT:  #pragma HLS bind_storage variable=lanes type=rom_1p impl=bram
// CHECK-NEXT:  #pragma HLS bind_storage variable=whole type=rom_1p impl=lutram
// CHECK-NEXT:    for (int i = 0; i < 4; i += 1) {
// CHECK-NEXT:  #pragma HLS pipeline II=1
// CHECK-NEXT:      const ap_int<6> [[X:v[0-9]+]] = x[i];
// CHECK-NEXT:      const ap_int<5> [[A:v[0-9]+]] = lanes[0][i];
// CHECK-NEXT:      const ap_int<5> [[B:v[0-9]+]] = lanes[1][i];

// A loop that calls a folded layer is not pipelined: that would unroll the layer.
// CHECK-LABEL: void twice(
// CHECK:         for (int i = 0; i < 2; i += 1) {
// CHECK-NEXT:      ap_int<12> scratch[8];
// CHECK-NEXT:  #pragma HLS array_partition variable=scratch complete dim=0
// CHECK-NEXT:      fold(x, scratch);

// VIVADO-LABEL: void fold(const ap_int<6> x[4], ap_int<12> y[8]) {
// VIVADO:       #pragma HLS array_partition variable=lanes complete dim=1
// VIVADO-NEXT:  #pragma HLS resource variable=lanes core=ROM_1P_BRAM
// VIVADO-NEXT:  #pragma HLS resource variable=whole core=ROM_1P_LUTRAM

// ONEAPI:       // 8 words of 5 bits
// ONEAPI-NEXT:  {{\[\[}}intel::fpga_memory("BLOCK_RAM"){{\]\]}}
// ONEAPI-NEXT:  static const int8_t lanes[2][4] = {
// ONEAPI:       {{\[\[}}intel::fpga_memory("MLAB"){{\]\]}}
// ONEAPI-NEXT:  static const int8_t whole[4] = {
// ONEAPI:       {{\[\[}}intel::initiation_interval(1){{\]\]}}
// ONEAPI-NEXT:  for (int i = 0; i < 4; i += 1) {

// CATAPULT-LABEL: void fold(const ac_int<6, true> x[4], ac_int<12, true> y[8]) {
// CATAPULT-NEXT:  #pragma hls_resource whole:rsc variables="whole" map_to_module="[Register]"
// CATAPULT-NEXT:  #pragma hls_pipeline_init_interval 1
// CATAPULT-NEXT:    for (int i = 0; i < 4; i += 1) {

"memref.global"() <{sym_name = "lanes", sym_visibility = "private", constant, type = memref<2x4xi5>, initial_value = dense<[[1, -2, 3, 4], [-16, 15, 0, 7]]> : tensor<2x4xi5>}> {fastml.storage = "block"} : () -> ()
"memref.global"() <{sym_name = "whole", sym_visibility = "private", constant, type = memref<4xi5>, initial_value = dense<[5, 6, 7, 8]> : tensor<4xi5>}> : () -> ()
func.func private @fold(
    %x : memref<4xi6> {fastml.port = "x", fastml.elements = "4 x s6", fastml.direction = "in"},
    %y : memref<8xi12> {fastml.port = "y", fastml.elements = "8 x s12", fastml.direction = "out"}
) attributes {fastml.ii = 4 : i64, fastml.latency = 5 : i64} {
  %lanes = memref.get_global @lanes : memref<2x4xi5>
  %whole = memref.get_global @whole : memref<4xi5>
  affine.for %i = 0 to 4 {
    %x0 = affine.load %x[%i] : memref<4xi6>
    %a = affine.load %lanes[0, %i] : memref<2x4xi5>
    %b = affine.load %lanes[1, %i] : memref<2x4xi5>
    %c = affine.load %whole[%i] : memref<4xi5>
    %0 = arith.extsi %x0 : i6 to i12
    %1 = arith.extsi %a : i5 to i12
    %2 = arith.extsi %b : i5 to i12
    %3 = arith.extsi %c : i5 to i12
    %4 = arith.muli %0, %1 : i12
    %5 = arith.muli %0, %2 : i12
    %6 = arith.addi %5, %3 : i12
    affine.store %4, %y[%i] : memref<8xi12>
    affine.store %6, %y[%i + 4] : memref<8xi12>
  } {fastml.pipeline = 1 : i64}
  func.return
}
func.func private @twice(
    %x : memref<4xi6> {fastml.port = "x", fastml.elements = "4 x s6", fastml.direction = "in"},
    %y : memref<2xi12> {fastml.port = "y", fastml.elements = "2 x s12", fastml.direction = "out"}
) attributes {fastml.ii = 8 : i64, fastml.latency = 16 : i64} {
  affine.for %i = 0 to 2 {
    %s = memref.alloc() {fastml.elements = "8 x s12"} : memref<8xi12>
    func.call @fold(%x, %s) : (memref<4xi6>, memref<8xi12>) -> ()
    %0 = affine.load %s[3] : memref<8xi12>
    affine.store %0, %y[%i] : memref<2xi12>
  } {fastml.pipeline = 4 : i64}
  func.return
}
func.func @design(
    %x : memref<4xi6> {fastml.name = "x", fastml.port = "x", fastml.elements = "4 x s6", fastml.direction = "in"},
    %y : memref<2xi12> {fastml.name = "y", fastml.port = "y", fastml.elements = "2 x s12", fastml.direction = "out"}
) attributes {fastml.top, fastml.ii = 8 : i64, fastml.latency = 20 : i64} {
  func.call @twice(%x, %y) : (memref<4xi6>, memref<2xi12>) -> ()
  func.return
}
