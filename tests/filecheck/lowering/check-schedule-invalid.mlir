// Violations are reported at the operation, with the edge, the element and both cycles.
// RUN: %fastml-opt %s -p check-schedule --split-input-file --verify-diagnostics | %filecheck %s

// CHECK: error[FML-SCHEDULE] {{.*}}invalid.mlir:[[# @LINE + 7]]:3: 'arith.subi': starts in cycle 1, but its operand %sum ('arith.addi') is there only in cycle 2
func.func @late_operand(
    %x : memref<2xi8> {fastml.name = "x", fastml.elements = "2 x s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  %0 = affine.load %x[0] : memref<2xi8>
  %sum = arith.addi %0, %0 {fastml.start = 2 : i64} : i8
  %1 = arith.subi %sum, %0 {fastml.start = 1 : i64} : i8
  affine.store %1, %y[0] : memref<1xi8>
  func.return
}

// -----

// CHECK: 'affine.load': element 1 of 'the hidden edge' is read before it is stored
func.func @not_stored(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  %h = memref.alloc() {fastml.name = "the hidden edge", fastml.elements = "2 x s8"} : memref<2xi8>
  %0 = affine.load %x[0] : memref<1xi8>
  affine.store %0, %h[0] : memref<2xi8>
  %1 = affine.load %h[1] : memref<2xi8>
  affine.store %1, %y[0] : memref<1xi8>
  func.return
}

// -----

// CHECK: 'func.func': latency is 3, but element 0 of 'y' is stored in cycle 4
func.func @late_output(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  %0 = affine.load %x[0] : memref<1xi8>
  %1 = arith.addi %0, %0 {fastml.start = 4 : i64} : i8
  affine.store %1, %y[0] : memref<1xi8>
  func.return
}

// -----

// CHECK: 'affine.load': in cycle 2 element 0 of 'sum' is read, but it is stored only in cycle 2
func.func @accumulator(
    %x : memref<4xi8> {fastml.name = "x", fastml.elements = "4 x s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 5 : i64, fastml.latency = 8 : i64} {
  %sum = memref.alloc() {fastml.name = "sum", fastml.elements = "s8"} : memref<1xi8>
  %zero = arith.constant 0 : i8
  affine.store %zero, %sum[0] : memref<1xi8>
  affine.for %i = 0 to 4 {
    %0 = affine.load %x[%i] : memref<4xi8>
    %1 = affine.load %sum[0] : memref<1xi8>
    %2 = arith.addi %0, %1 {fastml.start = 1 : i64} : i8
    affine.store %2, %sum[0] : memref<1xi8>
  } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64}
  func.return
}

// -----

// CHECK: 'arith.addi': the next iteration reads %part (a loop's argument) in cycle 1 of this one, which gives it for use from cycle 2 on: the interval 1 of the loop is too short
func.func @recurrence(
    %x : memref<4xi8> {fastml.name = "x", fastml.elements = "4 x s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 5 : i64, fastml.latency = 8 : i64} {
  %zero = arith.constant 0 : i8
  %sum = affine.for %i = 0 to 4 iter_args(%part = %zero) -> (i8) {
    %0 = affine.load %x[%i] : memref<4xi8>
    %1 = arith.addi %part, %0 : i8
    %2 = arith.addi %1, %0 {fastml.start = 1 : i64} : i8
    affine.yield %2 : i8
  } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64}
  affine.store %sum, %y[0] : memref<1xi8>
  func.return
}

// -----

// CHECK: 'arith.addi': unknown directive 'fastml.stat'; fix: known are fastml.name,
func.func @unknown(%a : i8) {
  %0 = arith.addi %a, %a {fastml.stat = 1 : i64} : i8
  func.return
}

// -----

// CHECK: 'affine.for': directive 'fastml.latency' has no meaning on 'affine.for'; fix: it belongs on argument, func.func, hw.module
func.func @misplaced() {
  affine.for %i = 0 to 4 {
  } {fastml.latency = 1 : i64}
  func.return
}

// -----

// CHECK: 'arith.addi': 'fastml.start' must be an i64 of at least 0, got 1 : i32
func.func @wrong_type(%a : i8) {
  %0 = arith.addi %a, %a {fastml.start = 1 : i32} : i8
  func.return
}

// -----

// CHECK: 'func.func': layout '2 x s8' needs elements of type i8, not memref<2xi9>
func.func @wrong_layout(%a : memref<2xi9> {fastml.elements = "2 x s8"}) {
  func.return
}

// -----

// CHECK: 'func.func': layout '3 x s8' has 3 elements, not memref<2xi8>
func.func @wrong_size(%a : memref<2xi8> {fastml.elements = "3 x s8"}) {
  func.return
}

// -----

// CHECK: 'func.func': 'fastml.elements' must be a layout such as '16 x s8' ('8s' is not an element run such as '16 x s8'), got "8s"
func.func @no_layout(%a : memref<1xi8> {fastml.elements = "8s"}) {
  func.return
}

// -----

// CHECK: 'func.func': 'fastml.direction' must be "in" or "out", got "inout"
func.func @no_direction(%a : memref<1xi8> {fastml.direction = "inout"}) {
  func.return
}

// -----

// CHECK: 'memref.alloc': 'fastml.name' must be a string, got 1 : i64
func.func @no_name() {
  %0 = memref.alloc() {fastml.name = 1 : i64} : memref<1xi8>
  func.return
}

// -----

// CHECK: 'func.func': 'fastml.top' must be a unit attribute, got true
func.func @no_unit() attributes {fastml.top = true} {
  func.return
}

// -----

// CHECK: 'builtin.module': 'fastml.interface' must be a dictionary, got 1 : i64
builtin.module attributes {fastml.interface = 1 : i64} {
}

// -----

// CHECK: 'affine.for': 'fastml.unroll' must be an i64 of at least 1, got 0 : i64
func.func @no_factor() {
  affine.for %i = 0 to 4 {
  } {fastml.unroll = 0 : i64}
  func.return
}

// -----

// CHECK: 'func.func': argument 0 of 'top' needs 'fastml.elements' and 'fastml.direction' on a memref
func.func @top(%a : memref<1xi8>)
    attributes {fastml.top, fastml.ii = 1 : i64, fastml.latency = 0 : i64} {
  func.return
}
