// What is no network, and processes whose cycles cannot be.
// RUN: %fastml-opt %s -p check-schedule --split-input-file --verify-diagnostics | %filecheck %s

// CHECK: error[FML-SCHEDULE] {{.*}}: 'memref.alloc': 'h' needs a depth, 'fastml.stream'
func.func @no_depth(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  %h = memref.alloc() {fastml.name = "h", fastml.elements = "s8"} : memref<1xi8>
  func.return
}

// -----

// CHECK: 'arith.constant': a dataflow is nothing but arrays and calls of processes
func.func @arithmetic(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  %c = arith.constant 1 : i8
  func.return
}

// -----

// CHECK: 'func.func': nothing writes 'y'
func.func @idle(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  func.return
}

// -----

// CHECK: 'func.call': 'copy' is called by a dataflow, but no 'fastml.process'
func.func @no_process(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  func.call @copy(%x, %y) : (memref<1xi8>, memref<1xi8>) -> ()
  func.return
}
func.func private @copy(
    %x : memref<1xi8> {fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.elements = "s8", fastml.direction = "out"}) {
  func.return
}

// -----

// CHECK: 'func.call': 'x' has two readers
func.func @two_readers(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64},
    %z : memref<1xi8> {fastml.name = "z", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  func.call @copy(%x, %y) : (memref<1xi8>, memref<1xi8>) -> ()
  func.call @copy(%x, %z) : (memref<1xi8>, memref<1xi8>) -> ()
  func.return
}
func.func private @copy(
    %x : memref<1xi8> {fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 1 : i64, fastml.latency = 0 : i64} {
  func.return
}

// -----

// CHECK: 'func.call': 'y' has two writers
func.func @two_writers(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %k : memref<1xi8> {fastml.name = "k", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  func.call @copy(%x, %y) : (memref<1xi8>, memref<1xi8>) -> ()
  func.call @copy(%k, %y) : (memref<1xi8>, memref<1xi8>) -> ()
  func.return
}
func.func private @copy(
    %x : memref<1xi8> {fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 1 : i64, fastml.latency = 0 : i64} {
  func.return
}

// -----

// CHECK: 'func.call': 'h' is read before it is written
func.func @in_a_circle(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  %h = memref.alloc() {fastml.name = "h", fastml.elements = "s8", fastml.stream = 1 : i64} : memref<1xi8>
  func.call @copy(%h, %y) : (memref<1xi8>, memref<1xi8>) -> ()
  func.call @copy(%x, %h) : (memref<1xi8>, memref<1xi8>) -> ()
  func.return
}
func.func private @copy(
    %x : memref<1xi8> {fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 1 : i64, fastml.latency = 0 : i64} {
  func.return
}

// -----

// CHECK: 'func.call': 'x' is 1 beats of 's8', but the process takes 1 of 'u8'
func.func @other_layout(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  func.call @copy(%x, %y) : (memref<1xi8>, memref<1xi8>) -> ()
  func.return
}
func.func private @copy(
    %x : memref<1xi8> {fastml.elements = "u8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 1 : i64, fastml.latency = 0 : i64} {
  func.return
}

// -----

// CHECK: 'func.func': a process needs 'fastml.ii' and 'fastml.latency'
func.func @timeless(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  func.call @copy(%x, %y) : (memref<1xi8>, memref<1xi8>) -> ()
  func.return
}
func.func private @copy(
    %x : memref<1xi8> {fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.elements = "s8", fastml.direction = "out"})
    attributes {fastml.process} {
  func.return
}

// -----

// CHECK: 'func.func': latency is 0, but element 0 of 'y' is stored in cycle 2
func.func @late(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  func.call @add(%x, %y) : (memref<1xi8>, memref<1xi8>) -> ()
  func.return
}
func.func private @add(
    %x : memref<1xi8> {fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out", fastml.latency = 0 : i64})
    attributes {fastml.process, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  %0 = affine.load %x[0] : memref<1xi8>
  %1 = arith.addi %0, %0 {fastml.start = 2 : i64} : i8
  affine.store %1, %y[0] : memref<1xi8>
  func.return
}

// -----

// CHECK: 'func.func': 'fastml.latency' of 'y' is 4: only outputs have one, of at most that of the function, 3
func.func @too_late(
    %x : memref<1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<1xi8> {fastml.name = "y", fastml.elements = "s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  func.call @add(%x, %y) : (memref<1xi8>, memref<1xi8>) -> ()
  func.return
}
func.func private @add(
    %x : memref<1xi8> {fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<1xi8> {fastml.port = "y", fastml.elements = "s8", fastml.direction = "out", fastml.latency = 4 : i64})
    attributes {fastml.process, fastml.ii = 1 : i64, fastml.latency = 3 : i64} {
  func.return
}

// -----

// CHECK: 'func.func': layout 's8' has 1 elements, not memref<2x1xi8>
func.func private @beats_of_no_process(
    %x : memref<2x1xi8> {fastml.elements = "s8", fastml.direction = "in"}) {
  func.return
}
