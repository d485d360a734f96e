// Bodies of processes on tokens that are no copies, or that copy something else.
// RUN: %fastml-opt %s -p check-schedule --split-input-file --verify-diagnostics | %filecheck %s

// CHECK: 'fill' is a dense tensor of i64
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
                fastml.reorder = {index = dense<[1, 0]> : tensor<2xi64>, fill = dense<0> : tensor<1xi32>}} {
  func.return
}

// -----

// CHECK: 'affine.store': element 0 of beat 1 of 'y' is not the constant 5
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
  %0 = affine.load %x[1, 0] : memref<2x1xi8>
  affine.store %0, %y[0, 0] : memref<2x1xi8>
  %a = arith.constant 100 : i8
  %zero = arith.constant 0 : i8
  %four = arith.constant 4 : i8
  %five = arith.constant 5 : i8
  %wrapped = arith.addi %a, %a : i8
  %above = arith.cmpi sgt, %wrapped, %zero : i8
  %1 = arith.select %above, %five, %four : i8
  affine.store %1, %y[1, 0] : memref<2x1xi8>
  func.return
}

// -----

// CHECK: 'affine.store': element 0 of beat 1 of 'y' is not the constant 1
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
                fastml.reorder = {index = dense<[1, -1]> : tensor<2xi64>, fill = dense<1> : tensor<1xi64>}} {
  %0 = affine.load %x[1, 0] : memref<2x1xi8>
  affine.store %0, %y[0, 0] : memref<2x1xi8>
  %bit = arith.constant true
  %1 = arith.extsi %bit : i1 to i8
  affine.store %1, %y[1, 0] : memref<2x1xi8>
  func.return
}

// -----

// CHECK: 'memref.alloc': has no place in a function that copies tokens
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
  %t = memref.alloc() : memref<1xi8>
  func.return
}

// -----

// CHECK: 'affine.for': bounds of a loop that copies tokens are constants
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
    affine.for %l = 0 to affine_map<(d0) -> (d0)>(%k) {
    }
  }
  func.return
}

// -----

// CHECK: 'affine.load': index runs from 0 to 2, outside of memref<2x1xi8>
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
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<2x1xi8>
  }
  func.return
}

// -----

// CHECK: 'affine.load': reads what is not the input
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
  %0 = affine.load %y[1, 0] : memref<2x1xi8>
  func.return
}

// -----

// CHECK: 'arith.extsi': changes the width of a choice
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
  %0 = affine.load %x[1, 0] : memref<2x1xi8>
  %bit = arith.constant false
  %five = arith.constant 5 : i8
  %1 = arith.select %bit, %0, %five : i8
  %2 = arith.extsi %1 : i8 to i9
  func.return
}

// -----

// CHECK: 'arith.select': chooses among elements of different widths
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
  %1 = arith.extsi %0 : i8 to i9
  %2 = arith.extui %0 : i8 to i9
  %bit = arith.constant false
  %3 = arith.select %bit, %1, %2 : i9
  func.return
}
