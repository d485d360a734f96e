// RUN: %fastml-opt %s -p canonicalize,cse --print-ir-after-all 2>&1 | %filecheck %s --check-prefix=ALL
// RUN: %fastml-opt %s -p cse,cse --print-ir-after-change 2>&1 | %filecheck %s --check-prefix=CHANGE
// RUN: %fastml-opt %s -p canonicalize,cse --timing 2>&1 | %filecheck %s --check-prefix=TIMING

func.func @twice(%x: i8) -> i8 {
  %a = arith.addi %x, %x : i8
  %b = arith.addi %x, %x : i8
  %c = arith.addi %a, %b : i8
  func.return %c : i8
}

// ALL:       // -----// IR Dump After canonicalize //----- //
// ALL-NEXT:  builtin.module
// ALL-COUNT-3: arith.addi
// ALL:       // -----// IR Dump After cse //----- //
// ALL-NEXT:  builtin.module

// CHANGE:     IR Dump After cse
// CHANGE-NOT: IR Dump

// TIMING: s {{.*}}%  canonicalize
// TIMING: s {{.*}}%  cse
// TIMING: s 100.0%  (total)
