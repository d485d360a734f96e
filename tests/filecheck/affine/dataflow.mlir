// A dataflow: serialise a beat, double each pair, gather the sums again.
// RUN: %fastml-opt %s -p check-schedule | %filecheck %s
// RUN: %fastml-opt %s --print-op-generic | %fastml-opt -p check-schedule | %filecheck %s

// CHECK: func.func @network(%x: memref<5xi8> {{{.*}}fastml.stream = 2 : i64{{.*}}},
// CHECK-SAME: %z: memref<3x2xi9> {{{.*}}fastml.elements = "2 x s9"{{.*}}fastml.stream = 3 : i64{{.*}}})
// CHECK: attributes {{{.*}}fastml.dataflow{{.*}}fastml.latency = 7 : i64{{.*}}}
func.func @network(
    %x : memref<5xi8> {fastml.name = "x", fastml.port = "x", fastml.elements = "5 x s8",
                       fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<5xi9> {fastml.name = "y", fastml.port = "y", fastml.elements = "5 x s9",
                       fastml.direction = "out", fastml.stream = 2 : i64},
    %z : memref<3x2xi9> {fastml.name = "z", fastml.port = "z", fastml.elements = "2 x s9",
                         fastml.direction = "out", fastml.stream = 3 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 7 : i64} {
  %s = memref.alloc() {fastml.name = "s", fastml.port = "s", fastml.elements = "2 x s8",
                       fastml.stream = 2 : i64} : memref<3x2xi8>
  // CHECK: %h = memref.alloc() {{{.*}}fastml.stream = 4 : i64{{.*}}} : memref<3x2xi9>
  %h = memref.alloc() {fastml.name = "h", fastml.port = "h", fastml.elements = "2 x s9",
                       fastml.stream = 4 : i64} : memref<3x2xi9>
  func.call @send(%x, %s) : (memref<5xi8>, memref<3x2xi8>) -> ()
  func.call @double(%s, %h, %z) : (memref<3x2xi8>, memref<3x2xi9>, memref<3x2xi9>) -> ()
  func.call @gather(%h, %y) : (memref<3x2xi9>, memref<5xi9>) -> ()
  func.return
}

// CHECK: func.func private @send({{.*}} attributes {{{.*}}fastml.process{{.*}}}
func.func private @send(
    %x : memref<5xi8> {fastml.port = "x", fastml.elements = "5 x s8", fastml.direction = "in"},
    %y : memref<3x2xi8> {fastml.port = "y", fastml.elements = "2 x s8",
                         fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 0 : i64} {
  %zero = arith.constant 0 : i8
  %end = arith.constant 2 : index
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k * 2] : memref<5xi8>
    affine.store %0, %y[%k, 0] : memref<3x2xi8>
    %more = arith.cmpi ult, %k, %end : index
    %1 = affine.load %x[(%k * 2 + 1) mod 5] : memref<5xi8>
    %2 = arith.select %more, %1, %zero : i8
    affine.store %2, %y[%k, 1] : memref<3x2xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// An output that comes before the last one has a latency of its own.
// CHECK: @double({{.*}} %z: memref<3x2xi9> {{{.*}}fastml.latency = 0 : i64{{.*}}})
func.func private @double(
    %x : memref<3x2xi8> {fastml.port = "x", fastml.elements = "2 x s8", fastml.direction = "in"},
    %y : memref<3x2xi9> {fastml.port = "y", fastml.elements = "2 x s9",
                         fastml.direction = "out"},
    %z : memref<3x2xi9> {fastml.port = "z", fastml.elements = "2 x s9",
                         fastml.direction = "out", fastml.latency = 0 : i64})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x2xi8>
    %1 = affine.load %x[%k, 1] : memref<3x2xi8>
    %2 = arith.extsi %0 : i8 to i9
    %3 = arith.extsi %1 : i8 to i9
    %4 = arith.addi %2, %3 {fastml.start = 1 : i64} : i9
    affine.store %4, %y[%k, 0] : memref<3x2xi9>
    affine.store %2, %y[%k, 1] : memref<3x2xi9>
    affine.store %2, %z[%k, 0] : memref<3x2xi9>
    affine.store %3, %z[%k, 1] : memref<3x2xi9>
  } {fastml.pipeline = 1 : i64}
  func.return
}

func.func private @gather(
    %x : memref<3x2xi9> {fastml.port = "x", fastml.elements = "2 x s9", fastml.direction = "in"},
    %y : memref<5xi9> {fastml.port = "y", fastml.name = "whole", fastml.elements = "5 x s9",
                       fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 0 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x2xi9>
    affine.store %0, %y[%k * 2] : memref<5xi9>
    // CHECK:      affine.if affine_set<(d0) : {{.*}}>(%k) {
    // CHECK-NEXT:   affine.load
    // CHECK-NEXT:   affine.store
    // CHECK-NEXT: }
    affine.if affine_set<(d0) : (1 - d0 >= 0)>(%k) {
      %1 = affine.load %x[%k, 1] : memref<3x2xi9>
      affine.store %1, %y[%k * 2 + 1] : memref<5xi9>
    }
  } {fastml.pipeline = 1 : i64}
  func.return
}
