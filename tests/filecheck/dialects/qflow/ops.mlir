// RUN: %fastml-opt %s | %filecheck %s
// RUN: %fastml-opt %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %fastml-opt | %filecheck %s
// RUN: %fastml-opt --print-op-generic %s | %filecheck %s --check-prefix GENERIC

// CHECK-LABEL: qflow.graph @stages ["x", "y"] -> ["d", "t"] latency 3 ii 1 {
// GENERIC: "qflow.graph"() <{sym_name = "stages", input_names = ["x", "y"], output_names = ["d", "t"], latency = #builtin.int<3>, ii = #builtin.int<1>}>
qflow.graph @stages ["x", "y"] -> ["d", "t"] latency 3 ii 1 {
// CHECK-NEXT: ^bb0(%x: !qflow.channel<pulse, 1x2, "2 x -8..7">, %y: !qflow.channel<pulse, 2, "0..3, -1..1">):
^bb0(%x: !qflow.channel<pulse, 1x2, "2 x -8..7">, %y: !qflow.channel<pulse, 2, "0..3, -1..1">):
  // CHECK-NEXT: %d = qflow.dense "d"(%x) {matrix = #fastml.array<"i64 2x1 : 3 -1">, bias = #fastml.array<"i64 1 : 5">} : !qflow.channel<pulse, 1x2, "2 x -8..7"> -> !qflow.channel<pulse, 1x1, "-26..34">
  // GENERIC: "qflow.dense"({{.*}}) <{edge = "d", matrix = #fastml.array<"i64 2x1 : 3 -1">, bias = #fastml.array<"i64 1 : 5">}>
  %d = qflow.dense "d"(%x) {matrix = #fastml.array<"i64 2x1 : 3 -1">, bias = #fastml.array<"i64 1 : 5">} : !qflow.channel<pulse, 1x2, "2 x -8..7"> -> !qflow.channel<pulse, 1x1, "-26..34">
  // CHECK-NEXT: %c = qflow.combine "c"(%x, %y) {coefficients = #fastml.array<"i64 2x2 : 1 -2 1 3">, bias = #fastml.array<"i64 2 : 0 9">} : (!qflow.channel<pulse, 1x2, "2 x -8..7">, !qflow.channel<pulse, 2, "0..3, -1..1">) -> !qflow.channel<pulse, 2, "-8..10, -8..28">
  %c = qflow.combine "c"(%x, %y) {coefficients = #fastml.array<"i64 2x2 : 1 -2 1 3">, bias = #fastml.array<"i64 2 : 0 9">} : (!qflow.channel<pulse, 1x2, "2 x -8..7">, !qflow.channel<pulse, 2, "0..3, -1..1">) -> !qflow.channel<pulse, 2, "-8..10, -8..28">
  // CHECK-NEXT: %m = qflow.multiply "m"(%x, %y) : !qflow.channel<pulse, 1x2, "2 x -8..7">, !qflow.channel<pulse, 2, "0..3, -1..1"> -> !qflow.channel<pulse, 2, "-24..21, -8..8">
  %m = qflow.multiply "m"(%x, %y) : !qflow.channel<pulse, 1x2, "2 x -8..7">, !qflow.channel<pulse, 2, "0..3, -1..1"> -> !qflow.channel<pulse, 2, "-24..21, -8..8">
  // A square is never negative.
  // CHECK-NEXT: %s = qflow.multiply "s"(%y, %y) : {{.*}} -> !qflow.channel<pulse, 2, "0..9, 0..1">
  %s = qflow.multiply "s"(%y, %y) : !qflow.channel<pulse, 2, "0..3, -1..1">, !qflow.channel<pulse, 2, "0..3, -1..1"> -> !qflow.channel<pulse, 2, "0..9, 0..1">
  // CHECK-NEXT: %r = qflow.rearrange "r"(%x, %y) {index = #fastml.array<"i64 3 : 3 0 3">} : (!qflow.channel<pulse, 1x2, "2 x -8..7">, !qflow.channel<pulse, 2, "0..3, -1..1">) -> !qflow.channel<pulse, 3x1, "-1..1, -8..7, -1..1">
  %r = qflow.rearrange "r"(%x, %y) {index = #fastml.array<"i64 3 : 3 0 3">} : (!qflow.channel<pulse, 1x2, "2 x -8..7">, !qflow.channel<pulse, 2, "0..3, -1..1">) -> !qflow.channel<pulse, 3x1, "-1..1, -8..7, -1..1">
  // What comes after the operands' elements are constants.
  // CHECK-NEXT: %p = qflow.rearrange "p"(%x) {index = #fastml.array<"i64 4 : 2 0 3 2">, fill = #fastml.array<"i64 2 : 9 -1">} : (!qflow.channel<pulse, 1x2, "2 x -8..7">) -> !qflow.channel<pulse, 4, "9..9, -8..7, -1..-1, 9..9">
  // GENERIC: "qflow.rearrange"({{.*}}) <{edge = "p", index = #fastml.array<"i64 4 : 2 0 3 2">, fill = #fastml.array<"i64 2 : 9 -1">}>
  %p = qflow.rearrange "p"(%x) {index = #fastml.array<"i64 4 : 2 0 3 2">, fill = #fastml.array<"i64 2 : 9 -1">} : (!qflow.channel<pulse, 1x2, "2 x -8..7">) -> !qflow.channel<pulse, 4, "9..9, -8..7, -1..-1, 9..9">
  // CHECK-NEXT: %max = qflow.maximum "max"(%x, %y) max {index = #fastml.array<"i64 2x2 : 0 2 3 3">} : (!qflow.channel<pulse, 1x2, "2 x -8..7">, !qflow.channel<pulse, 2, "0..3, -1..1">) -> !qflow.channel<pulse, 2, "0..7, -1..1">
  // GENERIC: "qflow.maximum"({{.*}}) <{edge = "max", kind = #qflow<extremum max>, index = #fastml.array<"i64 2x2 : 0 2 3 3">}>
  %max = qflow.maximum "max"(%x, %y) max {index = #fastml.array<"i64 2x2 : 0 2 3 3">} : (!qflow.channel<pulse, 1x2, "2 x -8..7">, !qflow.channel<pulse, 2, "0..3, -1..1">) -> !qflow.channel<pulse, 2, "0..7, -1..1">
  // CHECK-NEXT: %min = qflow.maximum "min"(%y) min {index = #fastml.array<"i64 1x2 : 0 1">, node_cycles = #fastml.array<"i64 1 : 2">, cycles = #fastml.array<"i64 1 : 2">} : (!qflow.channel<pulse, 2, "0..3, -1..1">) -> !qflow.channel<pulse, 1, "-1..1">
  %min = qflow.maximum "min"(%y) min {index = #fastml.array<"i64 1x2 : 0 1">, node_cycles = #fastml.array<"i64 1 : 2">, cycles = #fastml.array<"i64 1 : 2">} : (!qflow.channel<pulse, 2, "0..3, -1..1">) -> !qflow.channel<pulse, 1, "-1..1">
  // CHECK-NEXT: %q = qflow.rescale "q"(%x) half_even {offset = #fastml.array<"i64 2 : 1 0">, shift = #fastml.array<"i64 2 : 2 1">, low = #fastml.array<"i64 2 : 0 -9">, high = #fastml.array<"i64 2 : 1 3">} : !qflow.channel<pulse, 1x2, "2 x -8..7"> -> !qflow.channel<pulse, 1x2, "0..1, -4..3">
  %q = qflow.rescale "q"(%x) half_even {offset = #fastml.array<"i64 2 : 1 0">, shift = #fastml.array<"i64 2 : 2 1">, low = #fastml.array<"i64 2 : 0 -9">, high = #fastml.array<"i64 2 : 1 3">} : !qflow.channel<pulse, 1x2, "2 x -8..7"> -> !qflow.channel<pulse, 1x2, "0..1, -4..3">
  // CHECK-NEXT: %f = qflow.rescale "f"(%y) floor {
  %f = qflow.rescale "f"(%y) floor {offset = #fastml.array<"i64 2 : 0 0">, shift = #fastml.array<"i64 2 : 0 0">, low = #fastml.array<"i64 2 : 0 0">, high = #fastml.array<"i64 2 : 9 9">} : !qflow.channel<pulse, 2, "0..3, -1..1"> -> !qflow.channel<pulse, 2, "0..3, 0..1">
  // CHECK-NEXT: %u = qflow.rescale "u"(%y) half_up {
  %u = qflow.rescale "u"(%y) half_up {offset = #fastml.array<"i64 2 : 0 0">, shift = #fastml.array<"i64 2 : 1 1">, low = #fastml.array<"i64 2 : -9 -9">, high = #fastml.array<"i64 2 : 9 9">} : !qflow.channel<pulse, 2, "0..3, -1..1"> -> !qflow.channel<pulse, 2, "0..2, 0..1">
  // CHECK-NEXT: %t = qflow.threshold "t"(%d) {thresholds = #fastml.array<"i64 1x2 : -3 9">, base = #fastml.array<"i64 1 : 4">, direction = #fastml.array<"i64 1 : -1">} : !qflow.channel<pulse, 1x1, "-26..34"> -> !qflow.channel<pulse, 1x1, "2..4">
  %t = qflow.threshold "t"(%d) {thresholds = #fastml.array<"i64 1x2 : -3 9">, base = #fastml.array<"i64 1 : 4">, direction = #fastml.array<"i64 1 : -1">} : !qflow.channel<pulse, 1x1, "-26..34"> -> !qflow.channel<pulse, 1x1, "2..4">
  // CHECK-NEXT: %l = qflow.lookup "l"(%y) {table = #fastml.array<"i64 2x4 : 1 5 2 0 7 7 7 99">} : !qflow.channel<pulse, 2, "0..3, -1..1"> -> !qflow.channel<pulse, 2, "0..5, 7..7">
  %l = qflow.lookup "l"(%y) {table = #fastml.array<"i64 2x4 : 1 5 2 0 7 7 7 99">} : !qflow.channel<pulse, 2, "0..3, -1..1"> -> !qflow.channel<pulse, 2, "0..5, 7..7">
  // Low bits of a range that stays together keep it; others take every value.
  // CHECK-NEXT: %wrap = qflow.wrap "wrap"(%x) {width = #fastml.array<"i64 2 : 4 3">, signed = #fastml.array<"i64 2 : 1 0">} : !qflow.channel<pulse, 1x2, "2 x -8..7"> -> !qflow.channel<pulse, 1x2, "-8..7, 0..7">
  // GENERIC: "qflow.wrap"({{.*}}) <{edge = "wrap", width = #fastml.array<"i64 2 : 4 3">, signed = #fastml.array<"i64 2 : 1 0">}>
  %wrap = qflow.wrap "wrap"(%x) {width = #fastml.array<"i64 2 : 4 3">, signed = #fastml.array<"i64 2 : 1 0">} : !qflow.channel<pulse, 1x2, "2 x -8..7"> -> !qflow.channel<pulse, 1x2, "-8..7, 0..7">
  // CHECK-NEXT: qflow.yield %d, %t : !qflow.channel<pulse, 1x1, "-26..34">, !qflow.channel<pulse, 1x1, "2..4">
  qflow.yield %d, %t : !qflow.channel<pulse, 1x1, "-26..34">, !qflow.channel<pulse, 1x1, "2..4">
}

// Architectures, adder graphs and cycles; widths beyond 64 bits; a beat without axes.
// CHECK-LABEL: qflow.graph @decided ["x"] -> ["w"] {
qflow.graph @decided ["x"] -> ["w"] {
^bb0(%x: !qflow.channel<pulse, 2, "0..1, -4..3">):
  // CHECK: architecture = #qflow.parallel, graph = #qflow.adder_graph<#fastml.array<"i64 1 : 0">, {{.*}}>, node_cycles = #fastml.array<"i64 1 : 1">, cycles = #fastml.array<"i64 1 : 1">}
  %d = qflow.dense "d"(%x) {matrix = #fastml.array<"i64 2x1 : 1 2">, bias = #fastml.array<"i64 1 : 0">, architecture = #qflow.parallel, graph = #qflow.adder_graph<#fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 1">, #fastml.array<"i64 1 : 1">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 2">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">>, node_cycles = #fastml.array<"i64 1 : 1">, cycles = #fastml.array<"i64 1 : 1">} : !qflow.channel<pulse, 2, "0..1, -4..3"> -> !qflow.channel<pulse, 1, "-8..7">
  // CHECK: architecture = #qflow.folded<12>
  %w = qflow.dense "w"(%x) {matrix = #fastml.array<"int 2x1 : 1 18446744073709551616">, bias = #fastml.array<"i64 1 : 0">, architecture = #qflow.folded<12>} : !qflow.channel<pulse, 2, "0..1, -4..3"> -> !qflow.channel<pulse, scalar, "-73786976294838206464..55340232221128654849">
  // CHECK: qflow.yield %w : !qflow.channel<pulse, scalar, "-73786976294838206464..55340232221128654849">
  qflow.yield %w : !qflow.channel<pulse, scalar, "-73786976294838206464..55340232221128654849">
}

// CHECK-LABEL: qflow.graph @empty [] -> [] attributes {note = "kept"} {
// CHECK-NEXT:    qflow.yield
qflow.graph @empty [] -> [] attributes {note = "kept"} {
  qflow.yield
}

// CHECK: #qflow.ranges<"2 x -1..1, 5..5">
"test.op"() {ranges = #qflow.ranges<"2 x -1..1, 5..5">} : () -> ()

// Streams: FIFOs, several beats a frame, changes of their number; the padded lane has 0 too.
// CHECK-LABEL: qflow.graph @streams ["x", "unread"] -> ["y"] latency 7 ii 2 {
qflow.graph @streams ["x", "unread"] -> ["y"] latency 7 ii 2 {
// CHECK-NEXT: ^bb0(%x: !qflow.channel<rv, 2, "2 x 0..3", 2>, %u: !qflow.channel<rv, 1, "0..1">):
^bb0(%x: !qflow.channel<rv, 2, "2 x 0..3", 2>, %u: !qflow.channel<rv, 1, "0..1">):
  // CHECK-NEXT: %f = qflow.fifo "x.fifo"(%x) depth 2 : !qflow.channel<rv, 2, "2 x 0..3", 2> -> !qflow.channel<rv, 2, "2 x 0..3", 2>
  // GENERIC: "qflow.fifo"({{.*}}) <{edge = "x.fifo", depth = #builtin.int<2>}>
  %f = qflow.fifo "x.fifo"(%x) depth 2 : !qflow.channel<rv, 2, "2 x 0..3", 2> -> !qflow.channel<rv, 2, "2 x 0..3", 2>
  // CHECK-NEXT: %d = qflow.deserialise "d"(%f) : !qflow.channel<rv, 2, "2 x 0..3", 2> -> !qflow.channel<pulse, 3x1, "2 x 0..3, 1..3">
  %d = qflow.deserialise "d"(%f) : !qflow.channel<rv, 2, "2 x 0..3", 2> -> !qflow.channel<pulse, 3x1, "2 x 0..3, 1..3">
  // CHECK-NEXT: %g = qflow.fifo "d.fifo"(%d) depth 1 : !qflow.channel<pulse, 3x1, "2 x 0..3, 1..3"> -> !qflow.channel<rv, 3x1, "2 x 0..3, 1..3">
  %g = qflow.fifo "d.fifo"(%d) depth 1 : !qflow.channel<pulse, 3x1, "2 x 0..3, 1..3"> -> !qflow.channel<rv, 3x1, "2 x 0..3, 1..3">
  // CHECK-NEXT: %s = qflow.serialise "s"(%g) : !qflow.channel<rv, 3x1, "2 x 0..3, 1..3"> -> !qflow.channel<pulse, 2, "2 x 0..3", 2>
  %s = qflow.serialise "s"(%g) : !qflow.channel<rv, 3x1, "2 x 0..3, 1..3"> -> !qflow.channel<pulse, 2, "2 x 0..3", 2>
  %h = qflow.fifo "s.fifo"(%s) depth 3 : !qflow.channel<pulse, 2, "2 x 0..3", 2> -> !qflow.channel<rv, 2, "2 x 0..3", 2>
  // The same stage for every beat.
  // CHECK: %m = qflow.multiply "m"(%h, %h) : {{.*}} -> !qflow.channel<pulse, 2, "2 x 0..9", 2>
  %m = qflow.multiply "m"(%h, %h) : !qflow.channel<rv, 2, "2 x 0..3", 2>, !qflow.channel<rv, 2, "2 x 0..3", 2> -> !qflow.channel<pulse, 2, "2 x 0..9", 2>
  %y = qflow.fifo "m.fifo"(%m) depth 2 : !qflow.channel<pulse, 2, "2 x 0..9", 2> -> !qflow.channel<rv, 2, "2 x 0..9", 2>
  // CHECK: qflow.yield %y : !qflow.channel<rv, 2, "2 x 0..9", 2>
  qflow.yield %y : !qflow.channel<rv, 2, "2 x 0..9", 2>
}
