# Synthesise the Verilog of the high-level tool, out of context.
#   vivado -mode batch -source vivado_synth.tcl -tclargs PART PERIOD
set part [expr {$argc > 0 ? [lindex $argv 0] : "@PART@"}]
set period [expr {$argc > 1 ? [lindex $argv 1] : "@CLOCK@"}]
set verilog @TOP@_prj/solution1/syn/verilog
foreach script [glob -nocomplain $verilog/*.tcl] {
    source $script
}
add_files [glob $verilog/*.v]
foreach data [glob -nocomplain $verilog/*.dat] {
    add_files $data
}
synth_design -top @TOP@ -part $part -mode out_of_context
if {[llength [get_ports -quiet ap_clk]]} {
    create_clock -period $period -name ap_clk [get_ports ap_clk]
}
opt_design
report_utilization -file vivado_synth.rpt
report_timing_summary -file vivado_timing.rpt
exit
