// RUN: %fastml-opt %s --split-input-file --verify-diagnostics -p 'hls-tiling{partition=4 unroll=8}' -t hls | %filecheck %s

// CHECK: error[FML-IR] {{.*}}'builtin.module': needs one 'fastml.top' function, has 0
func.func @design() {
  func.return
}

// -----

// CHECK: error[FML-WIDTH] {{.*}}'arith.extsi': needs integers of 4097 bits, but Vitis HLS takes 4096 at most
func.func @design(%x : memref<1xi8> {fastml.name = "x", fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"}) attributes {fastml.top} {
  %0 = affine.load %x[0] : memref<1xi8>
  %1 = arith.extsi %0 : i8 to i4097
  %2 = arith.addi %1, %1 : i4097
  func.return
}

// -----

// CHECK: error[FML-WIDTH] {{.*}}'func.func': needs integers of 5000 bits, but Vitis HLS takes 4096 at most
func.func @design(%x : memref<1xi5000> {fastml.name = "x", fastml.port = "x", fastml.elements = "s5000", fastml.direction = "in"}) attributes {fastml.top} {
  func.return
}

// -----

// CHECK: error[FML-TARGET] {{.*}}'func.func': array 'x' has 5 elements, but the tool splits 4 into registers at most; fix: choose a flavour without that limit (oneapi, catapult), or emit sv
func.func @design(%x : memref<5xi8> {fastml.name = "x", fastml.port = "x", fastml.elements = "5 x s8", fastml.direction = "in"}) attributes {fastml.top} {
  func.return
}

// -----

// CHECK: error[FML-TARGET] {{.*}}'affine.for': is unrolled 9 times, but the tool takes 8 at most; fix: unroll by a factor, or let the compiler print adder graphs
func.func @design(%x : memref<9xi8> {fastml.name = "x", fastml.port = "x", fastml.elements = "9 x s8", fastml.direction = "in"}) attributes {fastml.top} {
  affine.for %i = 0 to 9 {
    %0 = affine.load %x[%i] : memref<9xi8>
  } {fastml.pipeline = 1 : i64, fastml.unroll}
  func.return
}

// -----

// CHECK: error[FML-IR] {{.*}}'affine.load': index 1 is out of range 0..0
func.func @design(%x : memref<1xi8> {fastml.name = "x", fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"}) attributes {fastml.top} {
  %0 = affine.load %x[1] : memref<1xi8>
  func.return
}

// -----

// CHECK: error[FML-IR] {{.*}}'arith.shli': shifts i8 by 8 bits
func.func @design(%x : memref<1xi8> {fastml.name = "x", fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"}) attributes {fastml.top} {
  %0 = affine.load %x[0] : memref<1xi8>
  %by = arith.constant 8 : i8
  %1 = arith.shli %0, %by : i8
  func.return
}

// -----

// CHECK: error[FML-IR] {{.*}}'arith.divsi': cannot be printed as C++
func.func @design(%x : memref<1xi8> {fastml.name = "x", fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"}) attributes {fastml.top} {
  %0 = affine.load %x[0] : memref<1xi8>
  %1 = arith.divsi %0, %0 : i8
  func.return
}

// -----

// CHECK: error[FML-IR] {{.*}}'func.func': argument 0 has no layout or direction
func.func @design(%x : memref<1xi8> {fastml.name = "x", fastml.port = "x", fastml.elements = "s8"}) attributes {fastml.top} {
  func.return
}

// -----

// CHECK: error[FML-IR] {{.*}}'@stage' is called, but has no body
func.func private @stage()
func.func @design() attributes {fastml.top} {
  func.call @stage() : () -> ()
  func.return
}

// -----

// CHECK: error[FML-IR] {{.*}}'@design' calls itself
func.func @design() attributes {fastml.top} {
  func.call @design() : () -> ()
  func.return
}

// -----

// CHECK: error[FML-IR] {{.*}}'func.call': gives a memory that is written twice
func.func private @stage(
    %a : memref<1xi8> {fastml.elements = "s8", fastml.direction = "in"},
    %b : memref<1xi8> {fastml.elements = "s8", fastml.direction = "out"}
) {
  func.return
}
func.func @design() attributes {fastml.top} {
  %0 = memref.alloc() {fastml.elements = "s8"} : memref<1xi8>
  func.call @stage(%0, %0) : (memref<1xi8>, memref<1xi8>) -> ()
  func.return
}
