// Weights that are loaded: a range at qflow, a memory that is no constant, ports of their own.
// RUN: %fastml-opt %s | %filecheck %s --check-prefix=QFLOW
// RUN: %fastml-opt %s --print-op-generic | %fastml-opt | %filecheck %s --check-prefix=QFLOW
// RUN: %fastml-opt %s -p "qflow-fold{reuse=2},qflow-solve,qflow-schedule,qflow-to-affine,check-schedule" | %filecheck %s --check-prefix=AFFINE
// RUN: %fastml-opt %s -p "qflow-fold{reuse=2},qflow-solve,qflow-schedule,qflow-to-affine,check-schedule,affine-to-hw" | %filecheck %s --check-prefix=HW

// QFLOW: qflow.dense "y"(%x) {matrix = #fastml.array<"i64 2x2 : 1 0 0 1">, bias = #fastml.array<"i64 2 : 0 5">, loadable = #qflow.loadable<-8, 7>}

// Words are those of cycles: each of the two lanes keeps its input, outputs follow each other.
// AFFINE:      "memref.global"() <{sym_name = "dense_y_weights", type = memref<2x2xi4>, initial_value = dense<[{{\[}}1, 0], [0, 1]]> : tensor<2x2xi4>, sym_visibility = "private"}> {fastml.load = {name = "y", port = "y_weights", low = -8 : i64, high = 7 : i64, words = 2 : i64, order = array<i64: 0, 2, 1, 3>, inputs = 2 : i64, contents = array<i64: 1, 0, 0, 1>}}
// AFFINE:      func.func private @dense_y
// AFFINE:        %weights = memref.get_global @dense_y_weights : memref<2x2xi4>

// HW:      hw.module @dense_y(in %clk: !seq.clock, in %rst: i1, in %valid: i1, in %x: i6, in %weights_valid: i1, in %weights: i8,
// HW:        [[MEMORY:%.*]] = seq.firmem 0, 1, {{.*}} : <2 x 8>
// HW:        seq.firmem.read_port [[MEMORY]]
// HW:        seq.firmem.write_port [[MEMORY]][{{.*}}] = %weights, clock %clk enable %weights_valid
// HW:      hw.module @loaded(in %clk: !seq.clock, in %rst: i1, in %x_valid: i1, in %x: i6, in %y_weights_valid: i1, in %y_weights: i8,
// HW-SAME:   weights = [{name = "y", port = "y_weights", {{.*}}order = array<i64: 0, 2, 1, 3>
qflow.graph @loaded ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x -4..3">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 2x2 : 1 0 0 1">, bias = #fastml.array<"i64 2 : 0 5">, loadable = #qflow.loadable<-8, 7>} : !qflow.channel<pulse, 2, "2 x -4..3"> -> !qflow.channel<pulse, 2, "-56..64, -51..69">
  qflow.yield %y : !qflow.channel<pulse, 2, "-56..64, -51..69">
}
