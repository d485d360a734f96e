// RUN: not %fastml-opt %s 2>&1 | %filecheck %s
// RUN: not %fastml-opt %s -p qflow-to-affin 2>&1 | %filecheck %s --check-prefix=PASS
// RUN: not %fastml-opt %s -p 'cse{nothing=1}' 2>&1 | %filecheck %s --check-prefix=OPTION
// RUN: not %fastml-opt %s.absent 2>&1 | %filecheck %s --check-prefix=FILE
// RUN: rm -f %t && not %fastml-opt %s -o %t && not test -e %t

// CHECK: error[FML-IR] {{.*}}errors.mlir:[[# @LINE + 3]]:3: 'arith.constant': {{.*}}
// CHECK-NOT: Traceback
func.func @odd() {
  %0 = "arith.constant"() <{value = 1 : i8}> : () -> i16
  func.return
}

// PASS: error[FML-USAGE] -p: {{.*}}'qflow-to-affin'{{.*}}; fix: did you mean qflow-to-affine?
// OPTION: error[FML-USAGE] -p: {{.*}}"nothing"
// FILE: error[FML-FILE] {{.*}}No such file or directory: '{{.*}}errors.mlir.absent'
