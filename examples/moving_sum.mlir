// The sum of the last eight of 32 samples, one sample a cycle. The samples before are in a ring
// of eight words: the word of a sample is that of the sample which leaves the sum for it.

func.func @moving_sum(
    %x : memref<32xi8> {fastml.name = "x", fastml.port = "x",
                        fastml.elements = "32 x s8", fastml.direction = "in"},
    %y : memref<32xi11> {fastml.name = "y", fastml.port = "y",
                         fastml.elements = "32 x s11", fastml.direction = "out"})
    attributes {fastml.top, fastml.ii = 32 : i64, fastml.latency = 35 : i64} {
  %ring = memref.alloc() {fastml.port = "ring", fastml.elements = "8 x s8",
                          fastml.storage = "block"} : memref<8xi8>
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0 : i8
  %none = arith.constant 0 : i11
  %all = affine.for %turn = 0 to 4 iter_args(%before = %none) -> (i11) {
    %total = affine.for %i = 0 to 8 iter_args(%sum = %before) -> (i11) {
      %new = affine.load %x[%turn * 8 + %i] : memref<32xi8>
      %word = affine.load %ring[%i] : memref<8xi8>
      affine.store %new, %ring[%i] : memref<8xi8>
      %empty = arith.cmpi eq, %turn, %c0 : index
      %old = arith.select %empty, %zero, %word {fastml.start = 1 : i64} : i8
      %in = arith.extsi %new : i8 to i11
      %out = arith.extsi %old : i8 to i11
      %change = arith.subi %in, %out {fastml.start = 1 : i64} : i11
      %next = arith.addi %sum, %change {fastml.start = 2 : i64} : i11
      affine.store %next, %y[%turn * 8 + %i] : memref<32xi11>
      affine.yield %next : i11
    } {fastml.pipeline = 1 : i64}
    affine.yield %total : i11
  } {fastml.pipeline = 8 : i64, fastml.start = 1 : i64}
  func.return
}
