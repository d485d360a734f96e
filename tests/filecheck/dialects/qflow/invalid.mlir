// RUN: %fastml-opt %s --split-input-file --parsing-diagnostics --verify-diagnostics | %filecheck %s

// CHECK: unknown protocol 'push'
"test.op"() {t = !qflow.channel<push, 2, "2 x 0..1">} : () -> ()

// -----

// CHECK: 3 ranges for a beat of shape (1, 2)
"test.op"() {t = !qflow.channel<pulse, 1x2, "3 x 0..1">} : () -> ()

// -----

// CHECK: a range is empty: its low is above its high
"test.op"() {t = !qflow.channel<pulse, 2, "0..1, 2..1">} : () -> ()

// -----

// CHECK: 'two' is not a run of ranges such as '16 x -8..7'
"test.op"() {t = #qflow.ranges<"two">} : () -> ()

// -----

// CHECK: reuse factor must be >= 1, got 0
"test.op"() {t = #qflow.folded<0>} : () -> ()

// -----

// CHECK: node arrays differ in length
"test.op"() {t = #qflow.adder_graph<#fastml.array<"i64 1 : 0">, #fastml.array<"i64 2 : 0 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">>} : () -> ()

// -----

// CHECK: output arrays differ in length
"test.op"() {t = #qflow.adder_graph<#fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 0 :">, #fastml.array<"i64 1 : 0">>} : () -> ()

// -----

// CHECK: an operation is 0 (L+R), 1 (L-R) or 2 (R-L)
"test.op"() {t = #qflow.adder_graph<#fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 3">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">>} : () -> ()

// -----

// CHECK: the arrays of an adder graph are rows of integers
"test.op"() {t = #qflow.adder_graph<#fastml.array<"i64 1 : 0">, #fastml.array<"f32 1 : 0.0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">>} : () -> ()

// -----

// CHECK: a shift is not within 4096 bits
"test.op"() {t = #qflow.adder_graph<#fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : -4097">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">>} : () -> ()

// -----

// CHECK: needs an integer matrix
qflow.graph @real_matrix ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"f32 1x1 : 1.0">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: the matrix needs a row
qflow.graph @no_row ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 0x1 :">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: bias must be 1 integers
qflow.graph @bias ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 1">, bias = #fastml.array<"i64 2 : 0 0">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: 3 elements are not blocks of 2 matrix rows
qflow.graph @blocks ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 3, "3 x 0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 2x1 : 1 1">, bias = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 3, "3 x 0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: element 1 of the result ranges over 0..2, its type says 0..3
qflow.graph @range ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x2 : 1 2">, bias = #fastml.array<"i64 2 : 0 0">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 2, "0..1, 0..3">
  qflow.yield %y : !qflow.channel<pulse, 2, "0..1, 0..3">
}

// -----

// CHECK: the result has 1 elements, not 2
qflow.graph @count ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x2 : 1 2">, bias = #fastml.array<"i64 2 : 0 0">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: cycles must be one for each element
qflow.graph @cycles ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..1">):
  %y = qflow.rearrange "y"(%x) {index = #fastml.array<"i64 1 : 0">, cycles = #fastml.array<"i64 2 : 0 0">} : (!qflow.channel<pulse, 2, "2 x 0..1">) -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: a cycle must not be negative
qflow.graph @negative ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..1">):
  %y = qflow.rearrange "y"(%x) {index = #fastml.array<"i64 1 : 0">, cycles = #fastml.array<"i64 1 : -1">} : (!qflow.channel<pulse, 2, "2 x 0..1">) -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: node cycles need an adder graph
qflow.graph @no_adders ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 1">, bias = #fastml.array<"i64 1 : 0">, node_cycles = #fastml.array<"i64 0 :">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: an operand is not an input or an earlier node
qflow.graph @later_node ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 2">, bias = #fastml.array<"i64 1 : 0">, graph = #qflow.adder_graph<#fastml.array<"i64 1 : 1">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 1">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">>} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..2">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..2">
}

// -----

// CHECK: an output is not an input or a node
qflow.graph @no_such_output ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 2">, bias = #fastml.array<"i64 1 : 0">, graph = #qflow.adder_graph<#fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 1 : 1">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 0">>} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..2">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..2">
}

// -----

// CHECK: the adder graph has 2 outputs, not 1
qflow.graph @outputs_of_graph ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 2">, bias = #fastml.array<"i64 1 : 0">, graph = #qflow.adder_graph<#fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 2 : 0 0">, #fastml.array<"i64 2 : 0 0">, #fastml.array<"i64 2 : 0 0">>} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..2">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..2">
}

// -----

// CHECK: node cycles must be one for each of 0 adders
qflow.graph @node_cycles ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.dense "y"(%x) {matrix = #fastml.array<"i64 1x1 : 2">, bias = #fastml.array<"i64 1 : 0">, node_cycles = #fastml.array<"i64 1 : 0">, graph = #qflow.adder_graph<#fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 0 :">, #fastml.array<"i64 1 : 0">, #fastml.array<"i64 1 : 1">, #fastml.array<"i64 1 : 0">>} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..2">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..2">
}

// -----

// CHECK: needs an operand
qflow.graph @no_operand ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.combine "y"() {coefficients = #fastml.array<"i64 0x1 :">, bias = #fastml.array<"i64 1 : 0">} : () -> !qflow.channel<pulse, 1, "0..0">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..0">
}

// -----

// CHECK: operands differ in size
qflow.graph @sizes ["x", "z"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">, %z: !qflow.channel<pulse, 2, "2 x 0..1">):
  %y = qflow.combine "y"(%x, %z) {coefficients = #fastml.array<"i64 2x1 : 1 1">, bias = #fastml.array<"i64 1 : 0">} : (!qflow.channel<pulse, 1, "0..1">, !qflow.channel<pulse, 2, "2 x 0..1">) -> !qflow.channel<pulse, 1, "0..2">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..2">
}

// -----

// CHECK: coefficients must be 1x1 integers
qflow.graph @coefficients ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.combine "y"(%x) {coefficients = #fastml.array<"i64 1 : 1">, bias = #fastml.array<"i64 1 : 0">} : (!qflow.channel<pulse, 1, "0..1">) -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: operands differ in size
qflow.graph @multiply ["x", "z"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">, %z: !qflow.channel<pulse, 2, "2 x 0..1">):
  %y = qflow.multiply "y"(%x, %z) : !qflow.channel<pulse, 1, "0..1">, !qflow.channel<pulse, 2, "2 x 0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: index must be integers
qflow.graph @index ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.rearrange "y"(%x) {index = #fastml.array<"f32 1 : 0.0">} : (!qflow.channel<pulse, 1, "0..1">) -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: index must be within 0..0
qflow.graph @index_bound ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.rearrange "y"(%x) {index = #fastml.array<"i64 1 : 1">} : (!qflow.channel<pulse, 1, "0..1">) -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: needs an operand
qflow.graph @wires_of_nothing [] -> ["y"] {
  %y = qflow.rearrange "y"() {index = #fastml.array<"i64 0 :">} : () -> !qflow.channel<pulse, 0, "">
  qflow.yield %y : !qflow.channel<pulse, 0, "">
}

// -----

// CHECK: offset must be 1 integers
qflow.graph @offset ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.rescale "y"(%x) floor {offset = #fastml.array<"i64 2 : 0 0">, shift = #fastml.array<"i64 1 : 0">, low = #fastml.array<"i64 1 : 0">, high = #fastml.array<"i64 1 : 1">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: a shift must be in 0..4096
qflow.graph @shift ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.rescale "y"(%x) floor {offset = #fastml.array<"i64 1 : 0">, shift = #fastml.array<"i64 1 : -1">, low = #fastml.array<"i64 1 : 0">, high = #fastml.array<"i64 1 : 1">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: a clamp is empty: its low is above its high
qflow.graph @clamp ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.rescale "y"(%x) floor {offset = #fastml.array<"i64 1 : 0">, shift = #fastml.array<"i64 1 : 0">, low = #fastml.array<"i64 1 : 2">, high = #fastml.array<"i64 1 : 1">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: thresholds must be 1 rows of integers
qflow.graph @thresholds ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.threshold "y"(%x) {thresholds = #fastml.array<"i64 1 : 0">, base = #fastml.array<"i64 1 : 0">, direction = #fastml.array<"i64 1 : 1">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "1..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "1..1">
}

// -----

// CHECK: a direction is 1 or -1
qflow.graph @direction ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.threshold "y"(%x) {thresholds = #fastml.array<"i64 1x1 : 0">, base = #fastml.array<"i64 1 : 0">, direction = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "1..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "1..1">
}

// -----

// CHECK: thresholds must be sorted
qflow.graph @sorted ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.threshold "y"(%x) {thresholds = #fastml.array<"i64 1x2 : 1 0">, base = #fastml.array<"i64 1 : 0">, direction = #fastml.array<"i64 1 : 1">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "1..2">
  qflow.yield %y : !qflow.channel<pulse, 1, "1..2">
}

// -----

// CHECK: table must be 1 rows of integers
qflow.graph @table ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.lookup "y"(%x) {table = #fastml.array<"i64 2x2 : 0 1 0 1">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: rows need 3 entries
qflow.graph @short_row ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..2">):
  %y = qflow.lookup "y"(%x) {table = #fastml.array<"i64 1x2 : 0 1">} : !qflow.channel<pulse, 1, "0..2"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: must end in qflow.yield
qflow.graph @no_yield ["x"] -> [] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.multiply "y"(%x, %x) : !qflow.channel<pulse, 1, "0..1">, !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: each input is a channel
qflow.graph @no_channel ["x"] -> [] {
^bb0(%x: i8):
  qflow.yield
}

// -----

// CHECK: needs one name for each input
qflow.graph @input_names [] -> [] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  qflow.yield
}

// -----

// CHECK: needs one name for each output
qflow.graph @output_names ["x"] -> [] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  qflow.yield %x : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: edge names must be unique: ['x']
qflow.graph @names ["x"] -> ["x"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.multiply "x"(%x, %x) : !qflow.channel<pulse, 1, "0..1">, !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: the initiation interval must be >= 1
qflow.graph @ii [] -> [] ii 0 {
  qflow.yield
}

// -----

// CHECK: the latency must not be negative
qflow.graph @latency [] -> [] latency -1 {
  qflow.yield
}

// -----

// CHECK: malformed constant array
qflow.graph @array ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.lookup "y"(%x) {table = #fastml.array<"i64 1x2 : 0">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: a frame has at least one beat, not 0
"test.op"() {t = !qflow.channel<rv, 2, "2 x 0..1", 0>} : () -> ()

// -----

// CHECK: only a FIFO gives a channel of protocol 'rv'
qflow.graph @bad ["x"] -> [] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.rearrange "y"(%x) {index = #fastml.array<"i64 1 : 0">} : (!qflow.channel<pulse, 1, "0..1">) -> !qflow.channel<rv, 1, "0..1">
  qflow.yield
}

// -----

// CHECK: operands and result differ in beats a frame: [1, 2]
qflow.graph @bad ["x", "y"] -> [] {
^bb0(%x: !qflow.channel<rv, 1, "0..1", 2>, %y: !qflow.channel<rv, 1, "0..1">):
  %fx = qflow.fifo "fx"(%x) depth 1 : !qflow.channel<rv, 1, "0..1", 2> -> !qflow.channel<rv, 1, "0..1", 2>
  %fy = qflow.fifo "fy"(%y) depth 1 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  %z = qflow.multiply "z"(%fx, %fy) : !qflow.channel<rv, 1, "0..1", 2>, !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1", 2>
  qflow.yield
}

// -----

// CHECK: the depth must be >= 1, got 0
qflow.graph @bad ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<rv, 1, "0..1">):
  %f = qflow.fifo "f"(%x) depth 0 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  qflow.yield %f : !qflow.channel<rv, 1, "0..1">
}

// -----

// CHECK: the result must be !qflow.channel<rv, 1, "0..1", 3>
qflow.graph @bad ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<rv, 1, "0..1", 3>):
  %f = qflow.fifo "f"(%x) depth 1 : !qflow.channel<rv, 1, "0..1", 3> -> !qflow.channel<rv, 1, "0..1">
  qflow.yield %f : !qflow.channel<rv, 1, "0..1">
}

// -----

// CHECK: only a FIFO gives a channel of 'rv'
qflow.graph @bad ["x"] -> [] {
^bb0(%x: !qflow.channel<rv, 2, "2 x 0..1">):
  %fx = qflow.fifo "fx"(%x) depth 1 : !qflow.channel<rv, 2, "2 x 0..1"> -> !qflow.channel<rv, 2, "2 x 0..1">
  %s = qflow.serialise "s"(%fx) : !qflow.channel<rv, 2, "2 x 0..1"> -> !qflow.channel<rv, 1, "0..1", 2>
  qflow.yield
}

// -----

// CHECK: 3 beats are no whole number for each of 2
qflow.graph @bad ["x"] -> [] {
^bb0(%x: !qflow.channel<rv, 2, "2 x 0..1", 2>):
  %fx = qflow.fifo "fx"(%x) depth 1 : !qflow.channel<rv, 2, "2 x 0..1", 2> -> !qflow.channel<rv, 2, "2 x 0..1", 2>
  %s = qflow.serialise "s"(%fx) : !qflow.channel<rv, 2, "2 x 0..1", 2> -> !qflow.channel<pulse, 1, "0..1", 3>
  qflow.yield
}

// -----

// CHECK: 5 elements in 2 beats are 3 a beat
qflow.graph @bad ["x"] -> [] {
^bb0(%x: !qflow.channel<rv, 5, "5 x 0..1">):
  %fx = qflow.fifo "fx"(%x) depth 1 : !qflow.channel<rv, 5, "5 x 0..1"> -> !qflow.channel<rv, 5, "5 x 0..1">
  %s = qflow.serialise "s"(%fx) : !qflow.channel<rv, 5, "5 x 0..1"> -> !qflow.channel<pulse, 2, "2 x 0..1", 2>
  qflow.yield
}

// -----

// CHECK: lane 1 ranges over -4..7
qflow.graph @bad ["x"] -> [] {
^bb0(%x: !qflow.channel<rv, 4, "0..1, 2..7, 1..1, -4..-2">):
  %fx = qflow.fifo "fx"(%x) depth 1 : !qflow.channel<rv, 4, "0..1, 2..7, 1..1, -4..-2"> -> !qflow.channel<rv, 4, "0..1, 2..7, 1..1, -4..-2">
  %s = qflow.serialise "s"(%fx) : !qflow.channel<rv, 4, "0..1, 2..7, 1..1, -4..-2"> -> !qflow.channel<pulse, 2, "0..1, -4..8", 2>
  qflow.yield
}

// -----

// CHECK: lane 1 ranges over 0..3
qflow.graph @bad ["x"] -> [] {
^bb0(%x: !qflow.channel<rv, 3, "3 x 2..3">):
  %fx = qflow.fifo "fx"(%x) depth 1 : !qflow.channel<rv, 3, "3 x 2..3"> -> !qflow.channel<rv, 3, "3 x 2..3">
  %s = qflow.serialise "s"(%fx) : !qflow.channel<rv, 3, "3 x 2..3"> -> !qflow.channel<pulse, 2, "2 x 2..3", 2>
  qflow.yield
}

// -----

// CHECK: lane 0 must range over -1..2
qflow.graph @bad ["x"] -> [] {
^bb0(%x: !qflow.channel<rv, 2, "2 x 0..3", 2>):
  %fx = qflow.fifo "fx"(%x) depth 1 : !qflow.channel<rv, 2, "2 x 0..3", 2> -> !qflow.channel<rv, 2, "2 x 0..3", 2>
  %d = qflow.deserialise "d"(%fx) : !qflow.channel<rv, 2, "2 x 0..3", 2> -> !qflow.channel<pulse, 3, "0..2, 2..2, -1..0">
  qflow.yield
}

// -----

// CHECK: with FIFOs, each input is of protocol 'rv'
qflow.graph @mixed ["x", "y"] -> [] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">, %y: !qflow.channel<rv, 1, "0..1">):
  qflow.yield
}

// -----

// CHECK: input 0 must be read by one FIFO
qflow.graph @bypassed ["x"] -> [] {
^bb0(%x: !qflow.channel<rv, 1, "0..1">):
  %y = qflow.rearrange "y"(%x) {index = #fastml.array<"i64 1 : 0">} : (!qflow.channel<rv, 1, "0..1">) -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield
}

// -----

// CHECK: input 0 must be read by one FIFO
qflow.graph @forked ["x"] -> ["f", "g"] {
^bb0(%x: !qflow.channel<rv, 1, "0..1">):
  %f = qflow.fifo "f"(%x) depth 1 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  %g = qflow.fifo "g"(%x) depth 1 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  qflow.yield %f, %g : !qflow.channel<rv, 1, "0..1">, !qflow.channel<rv, 1, "0..1">
}

// -----

// CHECK: with FIFOs, each output is the result of a FIFO
qflow.graph @no_fifo ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<rv, 1, "0..1">):
  %f = qflow.fifo "f"(%x) depth 1 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  %y = qflow.rearrange "y"(%f) {index = #fastml.array<"i64 1 : 0">} : (!qflow.channel<rv, 1, "0..1">) -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: FIFO 'g' is fed by a FIFO
qflow.graph @chained ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<rv, 1, "0..1">):
  %f = qflow.fifo "f"(%x) depth 1 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  %g = qflow.fifo "g"(%f) depth 1 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  qflow.yield %g : !qflow.channel<rv, 1, "0..1">
}

// -----

// CHECK: 's' must be fed by a FIFO
qflow.graph @fed ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<rv, 2, "2 x 0..1">):
  %f = qflow.fifo "f"(%x) depth 1 : !qflow.channel<rv, 2, "2 x 0..1"> -> !qflow.channel<rv, 2, "2 x 0..1">
  %h = qflow.rearrange "h"(%f) {index = #fastml.array<"i64 2 : 1 0">} : (!qflow.channel<rv, 2, "2 x 0..1">) -> !qflow.channel<pulse, 2, "2 x 0..1">
  %s = qflow.serialise "s"(%h) : !qflow.channel<pulse, 2, "2 x 0..1"> -> !qflow.channel<pulse, 1, "0..1", 2>
  %g = qflow.fifo "g"(%s) depth 1 : !qflow.channel<pulse, 1, "0..1", 2> -> !qflow.channel<rv, 1, "0..1", 2>
  qflow.yield %g : !qflow.channel<rv, 1, "0..1", 2>
}

// -----

// CHECK: 's' must feed FIFOs only
qflow.graph @feeds ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<rv, 2, "2 x 0..1">):
  %f = qflow.fifo "f"(%x) depth 1 : !qflow.channel<rv, 2, "2 x 0..1"> -> !qflow.channel<rv, 2, "2 x 0..1">
  %s = qflow.serialise "s"(%f) : !qflow.channel<rv, 2, "2 x 0..1"> -> !qflow.channel<pulse, 1, "0..1", 2>
  %h = qflow.rearrange "h"(%s) {index = #fastml.array<"i64 1 : 0">} : (!qflow.channel<pulse, 1, "0..1", 2>) -> !qflow.channel<pulse, 1, "0..1", 2>
  %g = qflow.fifo "g"(%h) depth 1 : !qflow.channel<pulse, 1, "0..1", 2> -> !qflow.channel<rv, 1, "0..1", 2>
  qflow.yield %g : !qflow.channel<rv, 1, "0..1", 2>
}

// -----

// CHECK: FIFO 'f' must have one reader, has 2
qflow.graph @two_outputs ["x"] -> ["y", "z"] {
^bb0(%x: !qflow.channel<rv, 1, "0..1">):
  %f = qflow.fifo "f"(%x) depth 1 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  qflow.yield %f, %f : !qflow.channel<rv, 1, "0..1">, !qflow.channel<rv, 1, "0..1">
}

// -----

// CHECK: FIFO 'f' must have one reader, has 0
qflow.graph @unread ["x"] -> [] {
^bb0(%x: !qflow.channel<rv, 1, "0..1">):
  %f = qflow.fifo "f"(%x) depth 1 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  qflow.yield
}

// -----

// CHECK: FIFO 'f' must have one reader, has 2
qflow.graph @two_readers ["x"] -> ["y", "z"] {
^bb0(%x: !qflow.channel<rv, 1, "0..1">):
  %f = qflow.fifo "f"(%x) depth 1 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  %h = qflow.rearrange "h"(%f) {index = #fastml.array<"i64 1 : 0">} : (!qflow.channel<rv, 1, "0..1">) -> !qflow.channel<pulse, 1, "0..1">
  %s = qflow.serialise "s"(%f) : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1", 2>
  %g = qflow.fifo "g"(%h) depth 1 : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  %t = qflow.fifo "t"(%s) depth 1 : !qflow.channel<pulse, 1, "0..1", 2> -> !qflow.channel<rv, 1, "0..1", 2>
  qflow.yield %g, %t : !qflow.channel<rv, 1, "0..1">, !qflow.channel<rv, 1, "0..1", 2>
}

// -----

// CHECK: processes wait for each other in a circle: 'join'
qflow.graph @circle ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<rv, 1, "0..1">):
  %f = qflow.fifo "f"(%x) depth 1 : !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  %h = qflow.rearrange "h"(%f) {index = #fastml.array<"i64 1 : 0">} : (!qflow.channel<rv, 1, "0..1">) -> !qflow.channel<pulse, 1, "0..1">
  %g = qflow.fifo "g"(%h) depth 1 : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  %j = qflow.multiply "join"(%f, %g) : !qflow.channel<rv, 1, "0..1">, !qflow.channel<rv, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  %y = qflow.fifo "y"(%j) depth 1 : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<rv, 1, "0..1">
  qflow.yield %y : !qflow.channel<rv, 1, "0..1">
}

// -----

// CHECK: fill must be a row of integers
qflow.graph @real_fill ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..1">):
  %y = qflow.rearrange "y"(%x) {index = #fastml.array<"i64 1 : 0">, fill = #fastml.array<"f32 1 : 0.0">} : (!qflow.channel<pulse, 2, "2 x 0..1">) -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: index must be within 0..2
qflow.graph @past_fill ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..1">):
  %y = qflow.rearrange "y"(%x) {index = #fastml.array<"i64 1 : 3">, fill = #fastml.array<"i64 1 : 7">} : (!qflow.channel<pulse, 2, "2 x 0..1">) -> !qflow.channel<pulse, 1, "7..7">
  qflow.yield %y : !qflow.channel<pulse, 1, "7..7">
}

// -----

// CHECK: element 1 of the result ranges over 7..7, its type says 0..1
qflow.graph @fill_range ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..1">):
  %y = qflow.rearrange "y"(%x) {index = #fastml.array<"i64 2 : 0 2">, fill = #fastml.array<"i64 1 : 7">} : (!qflow.channel<pulse, 2, "2 x 0..1">) -> !qflow.channel<pulse, 2, "2 x 0..1">
  qflow.yield %y : !qflow.channel<pulse, 2, "2 x 0..1">
}

// -----

// CHECK: index must be rows of integers
qflow.graph @no_rows ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..1">):
  %y = qflow.maximum "y"(%x) max {index = #fastml.array<"i64 2 : 0 1">} : (!qflow.channel<pulse, 2, "2 x 0..1">) -> !qflow.channel<pulse, 2, "2 x 0..1">
  qflow.yield %y : !qflow.channel<pulse, 2, "2 x 0..1">
}

// -----

// CHECK: index must be within 0..1
qflow.graph @far_contender ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..1">):
  %y = qflow.maximum "y"(%x) max {index = #fastml.array<"i64 1x2 : 0 2">} : (!qflow.channel<pulse, 2, "2 x 0..1">) -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: element 0 of the result ranges over 0..7, its type says 0..9
qflow.graph @least ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "0..9, 3..7">):
  %y = qflow.maximum "y"(%x) min {index = #fastml.array<"i64 1x2 : 0 1">} : (!qflow.channel<pulse, 2, "0..9, 3..7">) -> !qflow.channel<pulse, 1, "0..9">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..9">
}

// -----

// An element that is named twice needs no comparator.
// CHECK: node cycles must be one for each of 1 comparators
qflow.graph @comparators ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 2, "2 x 0..1">):
  %y = qflow.maximum "y"(%x) max {index = #fastml.array<"i64 1x3 : 0 1 0">, node_cycles = #fastml.array<"i64 2 : 0 0">} : (!qflow.channel<pulse, 2, "2 x 0..1">) -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: a width is in 1..4096
qflow.graph @no_width ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.wrap "y"(%x) {width = #fastml.array<"i64 1 : 0">, signed = #fastml.array<"i64 1 : 0">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: signed is 0 or 1
qflow.graph @sign ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..1">):
  %y = qflow.wrap "y"(%x) {width = #fastml.array<"i64 1 : 2">, signed = #fastml.array<"i64 1 : 2">} : !qflow.channel<pulse, 1, "0..1"> -> !qflow.channel<pulse, 1, "0..1">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..1">
}

// -----

// CHECK: element 0 of the result ranges over -2..1, its type says 0..3
qflow.graph @wraps ["x"] -> ["y"] {
^bb0(%x: !qflow.channel<pulse, 1, "0..3">):
  %y = qflow.wrap "y"(%x) {width = #fastml.array<"i64 1 : 2">, signed = #fastml.array<"i64 1 : 1">} : !qflow.channel<pulse, 1, "0..3"> -> !qflow.channel<pulse, 1, "0..3">
  qflow.yield %y : !qflow.channel<pulse, 1, "0..3">
}
