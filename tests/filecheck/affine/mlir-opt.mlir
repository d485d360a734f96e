// Upstream tools take our text, in both forms, keep our directives, and we take theirs.
// REQUIRES: mlir-opt
// RUN: %mlir-opt %S/parallel.mlir | %fastml-opt | %filecheck %s
// RUN: %fastml-opt %S/parallel.mlir | %mlir-opt | %fastml-opt | %filecheck %s
// RUN: %fastml-opt %S/parallel.mlir --print-op-generic | %mlir-opt --mlir-print-op-generic | %fastml-opt | %filecheck %s
// RUN: %fastml-opt %S/dense-loops.mlir | %mlir-opt --mlir-print-op-generic | %fastml-opt | %filecheck %s --check-prefix=LOOPS
// RUN: %fastml-opt %S/scratch-memory.mlir | %mlir-opt | %fastml-opt | %filecheck %s --check-prefix=SCRATCH
// RUN: %fastml-opt %S/dataflow.mlir | %mlir-opt | %fastml-opt -p check-schedule | %filecheck %s --check-prefix=FLOW
// RUN: %fastml-opt %S/windows.mlir | %mlir-opt --mlir-print-op-generic | %fastml-opt -p check-schedule | %filecheck %s --check-prefix=WINDOW

// CHECK: func.func private @stage(
// CHECK-SAME: memref<2xi9> {fastml.direction = "out", fastml.elements = "2 x s9"})
// CHECK: arith.addi {{.*}} {fastml.start = 2 : i64} : i9
// CHECK: func.func @top(
// CHECK-SAME: attributes {fastml.ii = 1 : i64, fastml.latency = 4 : i64, fastml.top}
// CHECK: memref.alloc() {fastml.elements = "2 x s9", fastml.name = "sum; and difference", fastml.port = "h"} : memref<2xi9>

// LOOPS: "memref.global"() <{{{.*}}constant{{.*}}sym_name = "w"
// LOOPS: affine.for %{{.*}} = 0 to 2 {
// LOOPS: } {fastml.pipeline = 1 : i64}
// LOOPS: } {fastml.pipeline = 3 : i64, fastml.start = 1 : i64}
// LOOPS: func.call @dense({{.*}}) {fastml.start = 1 : i64}

// SCRATCH: memref.store {{.*}} {fastml.start = 1 : i64} : memref<4xi7>
// SCRATCH: } {fastml.pipeline = 1 : i64, fastml.start = 5 : i64}

// FLOW: func.func @network({{.*}}fastml.stream = 2 : i64}
// FLOW-SAME: attributes {fastml.dataflow, fastml.ii = 3 : i64, fastml.latency = 7 : i64, fastml.top}
// FLOW: attributes {fastml.ii = 3 : i64, fastml.latency = 0 : i64, fastml.process}
// FLOW: affine.if affine_set<

// WINDOW: attributes {fastml.ii = 7 : i64, fastml.latency = 1 : i64, fastml.process, fastml.window = {
// WINDOW: affine.store {{.*}} : memref<6x4xi5>
