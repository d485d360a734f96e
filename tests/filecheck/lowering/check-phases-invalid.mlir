// Loops over the phases of a process whose cycles cannot be.
// RUN: %fastml-opt %s -p check-schedule --split-input-file --verify-diagnostics | %filecheck %s

// CHECK: 'func.func': 3 phases take 3 cycles, not 2
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 2 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'func.func': a process with several beats a frame is one loop over them
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {

  func.return
}

// -----

// CHECK: 'affine.for': a loop over phases has 'fastml.pipeline', and no 'fastml.start'
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
  } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.for': 4 phases, but 'x' has 3 beats
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 4 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 4 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.for': a loop over phases counts from 0, one by one
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 1 to 4 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.load': phase 1 reads beat 0 of 'x', its own is 1
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[0, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.load': index runs from 1 to 3, outside of memref<3x1xi8>
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k + 1, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'func.func': element 2 of beat 0 of 'y' is never stored
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.if affine_set<(d0) : (1 - d0 >= 0)>(%k) {
      affine.store %0, %y[%k] : memref<3xi8>
    }
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'func.func': element 0 of beat 0 of 'y' is stored twice
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[0] : memref<3xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.store': latency of 'y' is 1, but its element 1 is there 2 cycles after the last firing
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    %1 = arith.addi %0, %0 {fastml.start = 2 : i64} : i8
    affine.store %1, %y[%k] : memref<3xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.load': reads output 'y'
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
    %1 = affine.load %y[%k] : memref<3xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.store': stores to input 'x'
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
    affine.store %0, %x[%k, 0] : memref<3x1xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.load': reads 'x', which has been popped
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
  } {fastml.pipeline = 1 : i64}
  %1 = affine.load %x[2, 0] : memref<3x1xi8>
  func.return
}

// -----

// CHECK: 'arith.addi': uses %part (a loop's argument) in cycle 0, but the phase before gives it only for cycle 1
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  %zero = arith.constant 0 : i8
  %r = affine.for %k = 0 to 3 iter_args(%part = %zero) -> (i8) {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    %1 = arith.addi %0, %part : i8
    %2 = arith.addi %1, %0 {fastml.start = 1 : i64} : i8
    affine.store %0, %y[%k] : memref<3xi8>
    affine.yield %2 : i8
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.load': only constants come before the loop over phases
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  %1 = affine.load %x[0, 0] : memref<3x1xi8>
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.if': a condition on phases has neither results nor an else
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
    affine.if affine_set<(d0) : (1 - d0 >= 0)>(%k) {
    } else {
      affine.store %0, %y[%k] : memref<3xi8>
    }
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.if': a condition on phases never holds
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
    affine.if affine_set<(d0) : (d0 - 3 >= 0)>(%k) {
    }
  } {fastml.pipeline = 1 : i64}
  func.return
}

// -----

// CHECK: 'affine.store': an array of a phase is stored in some phases only
func.func @top(
    %x : memref<3x1xi8> {fastml.name = "x", fastml.elements = "s8", fastml.direction = "in", fastml.stream = 2 : i64},
    %y : memref<3xi8> {fastml.name = "y", fastml.elements = "3 x s8", fastml.direction = "out", fastml.stream = 2 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 5 : i64} {
  func.call @gather(%x, %y) : (memref<3x1xi8>, memref<3xi8>) -> ()
  func.return
}
func.func private @gather(
    %x : memref<3x1xi8> {fastml.port = "x", fastml.elements = "s8", fastml.direction = "in"},
    %y : memref<3xi8> {fastml.port = "y", fastml.elements = "3 x s8", fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64} {
  affine.for %k = 0 to 3 {
    %a = memref.alloc() {fastml.elements = "s8"} : memref<1xi8>
    %0 = affine.load %x[%k, 0] : memref<3x1xi8>
    affine.store %0, %y[%k] : memref<3xi8>
    affine.if affine_set<(d0) : (1 - d0 >= 0)>(%k) {
      affine.store %0, %a[0] : memref<1xi8>
    }
  } {fastml.pipeline = 1 : i64}
  func.return
}
