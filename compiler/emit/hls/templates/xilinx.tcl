# Build with: @RUN@
# Steps and settings can be given as key=value after the script, such as csynth=1 clock=4.
array set opt {
    part @PART@
    clock @CLOCK@
    uncertainty @UNCERTAINTY@
    reset 1
    csim 1
    csynth 1
    cosim 0
    export 0
    vsynth 0
}
foreach arg [split [join $argv]] {
    if {[regexp {^(\w+)=(\S+)$} $arg whole key value]} {
        if {![info exists opt($key)]} {
            error "'$key' is not known; choose from [lsort [array names opt]]"
        }
        set opt($key) $value
    }
}

if {$opt(reset)} {
    open_project -reset @TOP@_prj
} else {
    open_project @TOP@_prj
}
set_top @TOP@
foreach source {@SOURCES@} {
    add_files $source -cflags "-std=@STANDARD@"
}
add_files -tb @TESTBENCH@ -cflags "-std=@STANDARD@"
add_files -tb @DATA@
if {$opt(reset)} {
    open_solution -reset@FLOW@ solution1
} else {
    open_solution@FLOW@ solution1
}
set_part $opt(part)
create_clock -period $opt(clock) -name default
set_clock_uncertainty $opt(uncertainty) default

if {$opt(csim)} {
    csim_design -argv @DATA@
}
if {$opt(csynth)} {
    csynth_design
}
if {$opt(cosim)} {
    cosim_design -trace_level none -argv @DATA@
}
if {$opt(export)} {
    export_design -format ip_catalog -version 1.0.0
}
if {$opt(vsynth)} {
    exec vivado -mode batch -source vivado_synth.tcl -tclargs $opt(part) $opt(clock) >@ stdout
}
close_project
exit
