// A machine with two states. Filling: each word with `push` goes into the next free place of
// a memory, and an instance counts them. When eight are there, it drains: it reads them back
// through a clocked port, one a cycle, scales each by a weight from a table, and adds up.
hw.module private @count(in %clk : !seq.clock, in %clear : i1, in %step : i1, out value : i4) {
  %zero = hw.constant 0 : i4
  %one = hw.constant 1 : i4
  %value = seq.compreg %next, %clk reset %clear, %zero : i4
  %more = comb.add %value, %one : i4
  %next = comb.mux %step, %more, %value : i4
  hw.output %value : i4
}

hw.module @machine(in %clk : !seq.clock, in %rst : i1, in %push : i1, in %x : i12,
                   out busy : i1, out total : i20, out done : i1) {
  %zero = hw.constant 0 : i20
  %false = hw.constant 0 : i1
  %true = hw.constant 1 : i1
  %last = hw.constant 8 : i4
  %seven = hw.constant 7 : i4

  // The state, and its transitions.
  %draining = seq.compreg %draining_next, %clk reset %rst, %false {sv.namehint = "draining"} : i1
  %filling = comb.xor %draining, %true : i1
  %take = comb.and %push, %filling : i1
  %full = comb.icmp eq %filled, %seven : i4
  %fills = comb.and %take, %full : i1
  %empty = comb.icmp eq %drained, %last : i4
  %goes = comb.or %draining, %fills : i1
  %stays = comb.xor %empty, %true : i1
  %draining_next = comb.and %goes, %stays : i1
  %clear = comb.or %rst, %empty : i1

  %filled = hw.instance "fill" @count(clk: %clk: !seq.clock, clear: %clear: i1, step: %take: i1) -> (value: i4)
  %drained = hw.instance "drain" @count(clk: %clk: !seq.clock, clear: %clear: i1, step: %draining: i1) -> (value: i4)

  %store = seq.firmem 1, 1, old, undefined {sv.namehint = "store"} : <8 x 12>
  %in = comb.extract %filled from 0 : (i4) -> i3
  %out = comb.extract %drained from 0 : (i4) -> i3
  seq.firmem.write_port %store[%in] = %x, clock %clk enable %take : <8 x 12>
  %word = seq.firmem.read_port %store[%out], clock %clk : <8 x 12>

  %weights = hw.aggregate_constant [3 : i8, -5 : i8, 127 : i8, -128 : i8, 1 : i8, 0 : i8, -1 : i8, 64 : i8] : !hw.array<8xi8>
  %at = seq.compreg %out, %clk : i3
  %weight = hw.array_get %weights[%at] : !hw.array<8xi8>, i3
  %ws = comb.extract %weight from 7 : (i8) -> i1
  %wsr = comb.replicate %ws : (i1) -> i12
  %wide_weight = comb.concat %wsr, %weight : i12, i8
  %xs = comb.extract %word from 11 : (i12) -> i1
  %xsr = comb.replicate %xs : (i1) -> i8
  %wide_word = comb.concat %xsr, %word : i8, i12
  %product = comb.mul %wide_word, %wide_weight {sv.namehint = "product"} : i20

  // One cycle behind the read address.
  %reading = seq.compreg %draining, %clk reset %rst, %false : i1
  %sum = seq.compreg %sum_next, %clk reset %rst, %zero {sv.namehint = "sum"} : i20
  %grown = comb.add %sum, %product : i20
  %stopped = comb.xor %reading, %true : i1
  %held = comb.mux %reading, %grown, %sum : i20
  %starts = comb.and %filling, %stopped : i1
  %sum_next = comb.mux %starts, %zero, %held : i20
  %done = seq.compreg %empty, %clk reset %rst, %false : i1
  hw.output %draining, %sum, %done : i1, i20, i1
}
