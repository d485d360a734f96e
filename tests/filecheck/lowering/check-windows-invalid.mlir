// Tables of processes on tokens that make no sense, and bodies that do something else.
// RUN: %fastml-opt %s -p check-schedule --split-input-file --verify-diagnostics | %filecheck %s

// CHECK: error[FML-SCHEDULE] {{.*}}: 'func.func': 'fastml.reorder' alone holds index, fill
func.func @top(
    %x : memref<2x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<2x1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 2 : i64, fastml.latency = 3 : i64} {
  func.call @order(%x, %y) : (memref<2x1xi8>, memref<2x1xi8>) -> ()
  func.return
}
func.func private @order(
    %x : memref<2x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<2x1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 2 : i64, fastml.latency = 1 : i64,
                fastml.reorder = {index = dense<[1, 0]> : tensor<2xi64>}} {
  func.return
}

// -----

// CHECK: 'fastml.reorder': {{.*}}index must be within 0..1, or -1
func.func @top(
    %x : memref<2x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<2x1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 2 : i64, fastml.latency = 3 : i64} {
  func.call @order(%x, %y) : (memref<2x1xi8>, memref<2x1xi8>) -> ()
  func.return
}
func.func private @order(
    %x : memref<2x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<2x1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 2 : i64, fastml.latency = 1 : i64,
                fastml.reorder = {index = dense<[1, 2]> : tensor<2xi64>, fill = dense<0> : tensor<1xi64>}} {
  func.return
}

// -----

// CHECK: 2 steps take as many cycles, not 3
func.func @top(
    %x : memref<2x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<2x1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 2 : i64, fastml.latency = 3 : i64} {
  func.call @order(%x, %y) : (memref<2x1xi8>, memref<2x1xi8>) -> ()
  func.return
}
func.func private @order(
    %x : memref<2x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<2x1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64,
                fastml.reorder = {index = dense<[1, 0]> : tensor<2xi64>, fill = dense<0> : tensor<1xi64>}} {
  func.return
}

// -----

// CHECK: 'y' must be 2 beats of 1 elements, a cycle after their firing
func.func @top(
    %x : memref<2x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<2x1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 2 : i64, fastml.latency = 3 : i64} {
  func.call @order(%x, %y) : (memref<2x1xi8>, memref<2x1xi8>) -> ()
  func.return
}
func.func private @order(
    %x : memref<2x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<2x1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 2 : i64, fastml.latency = 2 : i64,
                fastml.reorder = {index = dense<[1, 0]> : tensor<2xi64>, fill = dense<0> : tensor<1xi64>}} {
  func.return
}

// -----

// CHECK: 'affine.store': element 0 of beat 0 of 'y' is not element 0 of beat 1 of 'x', as the tables of the process say
func.func @top(
    %x : memref<2x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<2x1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 2 : i64, fastml.latency = 3 : i64} {
  func.call @order(%x, %y) : (memref<2x1xi8>, memref<2x1xi8>) -> ()
  func.return
}
func.func private @order(
    %x : memref<2x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<2x1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 2 : i64, fastml.latency = 1 : i64,
                fastml.reorder = {index = dense<[1, 0]> : tensor<2xi64>, fill = dense<0> : tensor<1xi64>}} {
  affine.for %k = 0 to 2 {
    %0 = affine.load %x[%k, 0] : memref<2x1xi8>
    affine.store %0, %y[%k, 0] : memref<2x1xi8>
  }
  func.return
}

// -----

// CHECK: 'affine.store': element 0 of beat 1 of 'y' is not the constant 5, as the tables of the process say
func.func @top(
    %x : memref<2x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<2x1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 2 : i64, fastml.latency = 3 : i64} {
  func.call @order(%x, %y) : (memref<2x1xi8>, memref<2x1xi8>) -> ()
  func.return
}
func.func private @order(
    %x : memref<2x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<2x1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 2 : i64, fastml.latency = 1 : i64,
                fastml.reorder = {index = dense<[1, -1]> : tensor<2xi64>, fill = dense<5> : tensor<1xi64>}} {
  %four = arith.constant 4 : i8
  %0 = affine.load %x[1, 0] : memref<2x1xi8>
  affine.store %0, %y[0, 0] : memref<2x1xi8>
  affine.store %four, %y[1, 0] : memref<2x1xi8>
  func.return
}

// -----

// CHECK: element 0 of beat 1 of 'y' is never stored
func.func @top(
    %x : memref<2x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<2x1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 2 : i64, fastml.latency = 3 : i64} {
  func.call @order(%x, %y) : (memref<2x1xi8>, memref<2x1xi8>) -> ()
  func.return
}
func.func private @order(
    %x : memref<2x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<2x1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 2 : i64, fastml.latency = 1 : i64,
                fastml.reorder = {index = dense<[1, 0]> : tensor<2xi64>, fill = dense<0> : tensor<1xi64>}} {
  %0 = affine.load %x[1, 0] : memref<2x1xi8>
  affine.store %0, %y[0, 0] : memref<2x1xi8>
  func.return
}

// -----

// CHECK: 'arith.addi': depends on data
func.func @top(
    %x : memref<2x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<2x1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 2 : i64, fastml.latency = 3 : i64} {
  func.call @order(%x, %y) : (memref<2x1xi8>, memref<2x1xi8>) -> ()
  func.return
}
func.func private @order(
    %x : memref<2x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<2x1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 2 : i64, fastml.latency = 1 : i64,
                fastml.reorder = {index = dense<[1, 0]> : tensor<2xi64>, fill = dense<0> : tensor<1xi64>}} {
  %0 = affine.load %x[1, 0] : memref<2x1xi8>
  %1 = arith.addi %0, %0 : i8
  affine.store %1, %y[0, 0] : memref<2x1xi8>
  func.return
}

// -----

// CHECK: 'affine.store': element 0 of beat 0 of 'y' is stored twice
func.func @top(
    %x : memref<2x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<2x1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 2 : i64, fastml.latency = 3 : i64} {
  func.call @order(%x, %y) : (memref<2x1xi8>, memref<2x1xi8>) -> ()
  func.return
}
func.func private @order(
    %x : memref<2x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<2x1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 2 : i64, fastml.latency = 1 : i64,
                fastml.reorder = {index = dense<[1, 0]> : tensor<2xi64>, fill = dense<0> : tensor<1xi64>}} {
  affine.for %k = 0 to 2 {
    %0 = affine.load %x[1, 0] : memref<2x1xi8>
    affine.store %0, %y[0, 0] : memref<2x1xi8>
  }
  func.return
}

// -----

// CHECK: a process that reads at random has one input, and outputs
func.func @top(
    %x : memref<2x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %z : memref<2x1xi8> {fastml.name = "z", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<2x1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 2 : i64, fastml.latency = 3 : i64} {
  func.call @order(%x, %z, %y) : (memref<2x1xi8>, memref<2x1xi8>, memref<2x1xi8>) -> ()
  func.return
}
func.func private @order(
    %x : memref<2x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %z : memref<2x1xi8> {fastml.port = "z", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<2x1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 2 : i64, fastml.latency = 1 : i64,
                fastml.reorder = {index = dense<[1, 0]> : tensor<2xi64>, fill = dense<0> : tensor<1xi64>}} {
  func.return
}
