// RUN: %fastml-opt %s -t hls | %filecheck %s
// RUN: %fastml-opt %s -t 'hls{flavour=catapult}' | %filecheck %s --check-prefix=AC

// Sums, products and bitwise operations are as wide as their results; an extension is a
// change of reading, and costs nothing where the type has the sign already.

// CHECK-LABEL: void n_design(const x_t x[4], y_t y[24]) {
// CHECK:         const ap_int<7> [[SUM:v[0-9]+]] = x[0] + x[1];
// CHECK-NEXT:    const ap_int<7> [[DIFFERENCE:v[0-9]+]] = x[0] - x[1];
// CHECK-NEXT:    const ap_int<12> [[PRODUCT:v[0-9]+]] = x[0] * x[1];
// CHECK-NEXT:    const ap_int<6> {{v[0-9]+}} = x[0] & x[1];
// CHECK-NEXT:    const ap_int<6> {{v[0-9]+}} = x[0] | x[1];
// CHECK-NEXT:    const ap_int<6> {{v[0-9]+}} = x[0] ^ x[1];

// A constant is printed where it is used, in its narrowest type.
// CHECK-NEXT:    const ap_int<7> {{v[0-9]+}} = x[0] + ap_int<5>(-13);
// CHECK-NEXT:    const ap_int<7> {{v[0-9]+}} = x[0] * ap_uint<3>(5);

// Comparisons that read bits otherwise than the type does cast them.
// CHECK-NEXT:    const bool [[LESS:v[0-9]+]] = x[0] < x[1];
// CHECK-NEXT:    const ap_int<6> {{v[0-9]+}} = [[LESS]] ? x[0] : x[1];
// CHECK-NEXT:    const bool [[BELOW:v[0-9]+]] = ap_uint<6>(x[0]) < ap_uint<6>(x[1]);
// CHECK-NEXT:    const ap_int<6> {{v[0-9]+}} = [[BELOW]] ? x[0] : ap_int<6>(3);
// CHECK-NEXT:    const ap_uint<1> {{v[0-9]+}} = x[0] == 7;

// CHECK-NEXT:    const ap_int<6> {{v[0-9]+}} = x[0] < x[1] ? x[0] : x[1];
// CHECK-NEXT:    const ap_int<6> {{v[0-9]+}} = x[0] > x[1] ? x[0] : x[1];
// CHECK-NEXT:    const ap_uint<6> {{v[0-9]+}} = ap_uint<6>(x[0]) < ap_uint<6>(x[1]) ? ap_uint<6>(x[0]) : ap_uint<6>(x[1]);
// CHECK-NEXT:    const ap_uint<6> {{v[0-9]+}} = ap_uint<6>(x[0]) > ap_uint<6>(x[1]) ? ap_uint<6>(x[0]) : ap_uint<6>(x[1]);

// Words of more than 64 bits are put together.
// CHECK:         = x[0] + (ap_uint<69>(16) << 64 | ap_uint<64>(7));

// Shifts widen their operand first. What is used once stands where it is used.
// CHECK:         y[{{[0-9]+}}] = ap_int<9>(x[0]) << 3;
// CHECK-NEXT:    y[{{[0-9]+}}] = x[0] >> 2;
// CHECK-NEXT:    y[{{[0-9]+}}] = ap_uint<6>(x[0]) >> 2;
// CHECK-NEXT:    y[{{[0-9]+}}] = ap_int<4>(x[0]);

// AC-LABEL: void n_design(const x_t x[4], y_t y[24]) {
// AC:         const ac_int<7, true> {{v[0-9]+}} = x[0] + x[1];
// AC:         const bool [[BELOW:v[0-9]+]] = ac_int<6, false>(x[0]) < ac_int<6, false>(x[1]);
// AC:         (ac_int<69, false>(16) << 64 | ac_int<64, false>(7))

func.func @design(
    %x : memref<4xi6> {fastml.name = "x", fastml.port = "x", fastml.elements = "4 x s6", fastml.direction = "in"},
    %y : memref<24xi80> {fastml.name = "y", fastml.port = "y", fastml.elements = "24 x s80", fastml.direction = "out"}
) attributes {fastml.top, fastml.ii = 1 : i64, fastml.latency = 0 : i64} {
  %a = affine.load %x[0] : memref<4xi6>
  %b = affine.load %x[1] : memref<4xi6>
  %a7 = arith.extsi %a : i6 to i7
  %b7 = arith.extsi %b : i6 to i7
  %a12 = arith.extsi %a : i6 to i12
  %b12 = arith.extsi %b : i6 to i12
  %0 = arith.addi %a7, %b7 : i7
  %1 = arith.subi %a7, %b7 : i7
  %2 = arith.muli %a12, %b12 : i12
  %3 = arith.andi %a, %b : i6
  %4 = arith.ori %a, %b : i6
  %5 = arith.xori %a, %b : i6
  %c-13 = arith.constant -13 : i7
  %6 = arith.addi %a7, %c-13 : i7
  %c5 = arith.constant 5 : i7
  %7 = arith.muli %a7, %c5 : i7
  %less = arith.cmpi slt, %a, %b : i6
  %8 = arith.select %less, %a, %b : i6
  %below = arith.cmpi ult, %a, %b : i6
  %c3 = arith.constant 3 : i6
  %9 = arith.select %below, %a, %c3 : i6
  %c7 = arith.constant 7 : i6
  %10 = arith.cmpi eq, %a, %c7 : i6
  %11 = arith.minsi %a, %b : i6
  %12 = arith.maxsi %a, %b : i6
  %13 = arith.minui %a, %b : i6
  %14 = arith.maxui %a, %b : i6
  %a9 = arith.extsi %a : i6 to i9
  %three = arith.constant 3 : i9
  %15 = arith.shli %a9, %three : i9
  %two = arith.constant 2 : i6
  %16 = arith.shrsi %a, %two : i6
  %17 = arith.shrui %a, %two : i6
  %18 = arith.trunci %a : i6 to i4
  %a80 = arith.extsi %a : i6 to i80
  %wide = arith.constant 295147905179352825863 : i80
  %19 = arith.addi %a80, %wide : i80
  %e0 = arith.extsi %0 : i7 to i80
  %e1 = arith.extsi %1 : i7 to i80
  %e2 = arith.extsi %2 : i12 to i80
  %e3 = arith.extsi %3 : i6 to i80
  %e4 = arith.extsi %4 : i6 to i80
  %e5 = arith.extsi %5 : i6 to i80
  %e6 = arith.extsi %6 : i7 to i80
  %e7 = arith.extsi %7 : i7 to i80
  %e8 = arith.extsi %8 : i6 to i80
  %e9 = arith.extsi %9 : i6 to i80
  %e10 = arith.extui %10 : i1 to i80
  %e11 = arith.extsi %11 : i6 to i80
  %e12 = arith.extsi %12 : i6 to i80
  %e13 = arith.extui %13 : i6 to i80
  %e14 = arith.extui %14 : i6 to i80
  %e15 = arith.extsi %15 : i9 to i80
  %e16 = arith.extsi %16 : i6 to i80
  %e17 = arith.extui %17 : i6 to i80
  %e18 = arith.extsi %18 : i4 to i80
  affine.store %e0, %y[0] : memref<24xi80>
  affine.store %e1, %y[1] : memref<24xi80>
  affine.store %e2, %y[2] : memref<24xi80>
  affine.store %e3, %y[3] : memref<24xi80>
  affine.store %e4, %y[4] : memref<24xi80>
  affine.store %e5, %y[5] : memref<24xi80>
  affine.store %e6, %y[6] : memref<24xi80>
  affine.store %e7, %y[7] : memref<24xi80>
  affine.store %e8, %y[8] : memref<24xi80>
  affine.store %e9, %y[9] : memref<24xi80>
  affine.store %e10, %y[10] : memref<24xi80>
  affine.store %e11, %y[11] : memref<24xi80>
  affine.store %e12, %y[12] : memref<24xi80>
  affine.store %e13, %y[13] : memref<24xi80>
  affine.store %e14, %y[14] : memref<24xi80>
  affine.store %e15, %y[15] : memref<24xi80>
  affine.store %e16, %y[16] : memref<24xi80>
  affine.store %e17, %y[17] : memref<24xi80>
  affine.store %e18, %y[18] : memref<24xi80>
  affine.store %19, %y[19] : memref<24xi80>
  func.return
}
