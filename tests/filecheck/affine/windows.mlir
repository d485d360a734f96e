// Tokens of an image of 2x3: windows of 2x2, some of them in another order, and their maximum.
// RUN: %fastml-opt %s -p check-schedule | %filecheck %s
// RUN: %fastml-opt %s --print-op-generic | %fastml-opt -p check-schedule | %filecheck %s
// RUN: %fastml-opt %s -p affine-to-hw | %filecheck %s --check-prefix=HW

// CHECK: func.func private @window({{.*}} attributes {
// CHECK-SAME: fastml.window = {size = dense<[2, 3]> : tensor<2xi64>, rows = dense<{{\[\[}}-1, 0], [0, 1]]> : tensor<2x2xi64>, cols = dense<{{\[\[}}0, 1], [1, 2], [2, -1]]> : tensor<3x2xi64>, fill = dense<-1> : tensor<1xi64>}
// CHECK: func.func private @order({{.*}} attributes {
// CHECK-SAME: fastml.reorder = {index = dense<[5, 0, -1]> : tensor<3xi64>, fill = dense<[1, 2, 3, 4]> : tensor<4xi64>}

// A window takes the place of the FIFO in front: its slots are those of the stream.
// HW: fastml.taps = {
// HW-SAME: w = {signal = "window.token", elements = "2 x s5, u4, s5", cycles = array<i64: 1, 1, 1, 1>, fire = "window.fire"}
// HW-NOT: @fifo_5x4
// HW-LABEL: hw.module @window_2x2_of_2x3x4(in %clk: !seq.clock, in %rst: i1, in %push: i1, in %push_data: i4, in {{.*}}room_0: i1, out ready: i1, out claim: i1, out send: i1, out data: i19)
// HW: [[SPARE:%.*]] = seq.compreg {{.*}} {sv.namehint = "spare"} : i4
// HW: hw.wire {{%.*}} {sv.namehint = "fire"} : i1
// HW: hw.wire {{%.*}} {sv.namehint = "token"} : i19
// HW-LABEL: hw.module @reorder_6x19(in %clk: !seq.clock, in %rst: i1, in %reserve: i1, in %push: i1,
// HW: seq.firmem 0, 1, old, undefined {sv.namehint = "tokens"} : <8 x 19>
// HW-LABEL: hw.module @flow(
// HW: hw.instance "window" @window_2x2_of_2x3x4({{.*}} push_data: %x: i4, room_0: [[ROOM:%.*]]: i1)
// HW: [[ROOM]], {{.*}} = hw.instance "order" @reorder_6x19(
func.func @flow(
    %x : memref<6x1xi4> {fastml.name = "x", fastml.port = "x", fastml.elements = "u4",
                         fastml.direction = "in", fastml.stream = 5 : i64},
    %y : memref<4xi5> {fastml.name = "y", fastml.port = "y", fastml.elements = "2 x s5, u4, s5",
                       fastml.direction = "out", fastml.stream = 1 : i64})
    attributes {fastml.top, fastml.dataflow, fastml.ii = 7 : i64, fastml.latency = 14 : i64} {
  %w = memref.alloc() {fastml.name = "windows", fastml.port = "windows",
                       fastml.elements = "2 x s5, u4, s5", fastml.stream = 8 : i64} : memref<6x4xi5>
  %o = memref.alloc() {fastml.name = "ordered", fastml.port = "ordered",
                       fastml.elements = "2 x s5, u4, s5", fastml.stream = 3 : i64} : memref<3x4xi5>
  func.call @window(%x, %w) : (memref<6x1xi4>, memref<6x4xi5>) -> ()
  func.call @order(%w, %o) : (memref<6x4xi5>, memref<3x4xi5>) -> ()
  func.call @largest(%o, %y) : (memref<3x4xi5>, memref<4xi5>) -> ()
  func.return
}

func.func private @window(
    %x : memref<6x1xi4> {fastml.port = "x", fastml.elements = "u4", fastml.direction = "in"},
    %w : memref<6x4xi5> {fastml.name = "w", fastml.port = "w", fastml.elements = "2 x s5, u4, s5",
                         fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 7 : i64, fastml.latency = 1 : i64,
                fastml.window = {size = dense<[2, 3]> : tensor<2xi64>,
                                 rows = dense<[[-1, 0], [0, 1]]> : tensor<2x2xi64>,
                                 cols = dense<[[0, 1], [1, 2], [2, -1]]> : tensor<3x2xi64>,
                                 fill = dense<-1> : tensor<1xi64>}} {
  %zero = arith.constant 0 : index
  %fill = arith.constant -1 : i5
  %height = arith.constant 2 : index
  %width = arith.constant 3 : index
  affine.for %y = 0 to 2 {
    affine.for %ky = 0 to 2 {
      %row = affine.apply affine_map<(d0, d1) -> (d0 + d1 - 1)> (%y, %ky)
      %above = arith.cmpi ult, %row, %height : index
      affine.for %c = 0 to 3 {
        affine.for %kx = 0 to 2 {
          %column = affine.apply affine_map<(d0, d1) -> (d0 + d1)> (%c, %kx)
          %left = arith.cmpi ult, %column, %width : index
          %start = arith.muli %row, %width : index
          %token = arith.addi %start, %column : index
          %inside = arith.andi %above, %left : i1
          %place = arith.select %inside, %token, %zero : index
          affine.for %n = 0 to 1 {
            %0 = memref.load %x[%place, %n] : memref<6x1xi4>
            %1 = arith.extui %0 : i4 to i5
            %2 = arith.select %inside, %1, %fill : i5
            affine.store %2, %w[%y * 3 + %c, %ky * 2 + %kx + %n] : memref<6x4xi5>
          }
        }
      }
    }
  }
  func.return
}

"memref.global"() <{sym_name = "tokens", type = memref<3xi4>, initial_value = dense<[5, 0, -1]> : tensor<3xi4>, sym_visibility = "private", constant}> : () -> ()
"memref.global"() <{sym_name = "fill", type = memref<4xi5>, initial_value = dense<[1, 2, 3, 4]> : tensor<4xi5>, sym_visibility = "private", constant}> : () -> ()
func.func private @order(
    %w : memref<6x4xi5> {fastml.port = "w", fastml.elements = "2 x s5, u4, s5",
                         fastml.direction = "in"},
    %o : memref<3x4xi5> {fastml.port = "o", fastml.elements = "2 x s5, u4, s5",
                         fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 1 : i64,
                fastml.reorder = {index = dense<[5, 0, -1]> : tensor<3xi64>,
                                  fill = dense<[1, 2, 3, 4]> : tensor<4xi64>}} {
  %zero = arith.constant 0 : index
  %tokens = memref.get_global @tokens : memref<3xi4>
  %fill = memref.get_global @fill : memref<4xi5>
  %count = arith.constant 6 : index
  affine.for %k = 0 to 3 {
    %0 = affine.load %tokens[%k] : memref<3xi4>
    %1 = arith.index_cast %0 : i4 to index
    %inside = arith.cmpi ult, %1, %count : index
    %place = arith.select %inside, %1, %zero : index
    affine.for %n = 0 to 4 {
      %2 = memref.load %w[%place, %n] : memref<6x4xi5>
      %3 = affine.load %fill[%n] : memref<4xi5>
      %4 = arith.select %inside, %2, %3 : i5
      affine.store %4, %o[%k, %n] : memref<3x4xi5>
    }
  }
  func.return
}

func.func private @largest(
    %o : memref<3x4xi5> {fastml.port = "o", fastml.elements = "2 x s5, u4, s5",
                         fastml.direction = "in"},
    %y : memref<4xi5> {fastml.port = "y", fastml.elements = "2 x s5, u4, s5",
                       fastml.direction = "out"})
    attributes {fastml.process, fastml.ii = 3 : i64, fastml.latency = 0 : i64} {
  %zero = arith.constant 0 : i5
  %first = arith.constant 0 : index
  %a, %b, %c, %d = affine.for %k = 0 to 3
      iter_args(%a0 = %zero, %b0 = %zero, %c0 = %zero, %d0 = %zero) -> (i5, i5, i5, i5) {
    %begins = arith.cmpi eq, %k, %first : index
    %0 = affine.load %o[%k, 0] : memref<3x4xi5>
    %1 = affine.load %o[%k, 1] : memref<3x4xi5>
    %2 = affine.load %o[%k, 2] : memref<3x4xi5>
    %3 = affine.load %o[%k, 3] : memref<3x4xi5>
    %a1 = arith.maxsi %0, %a0 : i5
    %b1 = arith.maxsi %1, %b0 : i5
    %c1 = arith.maxsi %2, %c0 : i5
    %d1 = arith.maxsi %3, %d0 : i5
    %a2 = arith.select %begins, %0, %a1 : i5
    %b2 = arith.select %begins, %1, %b1 : i5
    %c2 = arith.select %begins, %2, %c1 : i5
    %d2 = arith.select %begins, %3, %d1 : i5
    affine.if affine_set<(d0) : (d0 - 2 == 0)>(%k) {
      affine.store %a2, %y[0] : memref<4xi5>
      affine.store %b2, %y[1] : memref<4xi5>
      affine.store %c2, %y[2] : memref<4xi5>
      affine.store %d2, %y[3] : memref<4xi5>
    }
    affine.yield %a2, %b2, %c2, %d2 : i5, i5, i5, i5
  } {fastml.pipeline = 1 : i64}
  func.return
}
