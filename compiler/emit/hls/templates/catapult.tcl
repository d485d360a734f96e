# Build with: @RUN@
# Steps and settings can be given in the environment, such as CLOCK=4 SYNTHESIS=0.
array set opt {
    PART @PART@
    CLOCK @CLOCK@
    UNCERTAINTY @UNCERTAINTY@
    SIMULATION 1
    SYNTHESIS 1
}
foreach key [array names opt] {
    if {[info exists env($key)]} {
        set opt($key) $env($key)
    }
}
if {[string match *% $opt(UNCERTAINTY)]} {
    set opt(UNCERTAINTY) [expr {$opt(CLOCK) * [string trimright $opt(UNCERTAINTY) %] / 100.0}]
}

project new -name @TOP@_prj
options set Input/CppStandard @STANDARD@
options set Input/TargetPlatform x86_64
flow package require /SCVerify
foreach source {@SOURCES@} {
    solution file add $source -type C++
}
solution file add @TESTBENCH@ -type C++ -exclude true
directive set -DESIGN_HIERARCHY @TOP@
go analyze
if {$opt(SIMULATION)} {
    flow run /SCVerify/launch_make ./scverify/Verify_orig_cxx_osci.mk {} SIMTOOL=osci sim
}
go compile
solution library add $opt(PART)
go libraries
directive set -CLOCKS [list clk [list -CLOCK_PERIOD $opt(CLOCK) -CLOCK_UNCERTAINTY $opt(UNCERTAINTY)]]
go assembly
directive set -REGISTER_THRESHOLD 4096
@RESOURCES@
directive set /@TOP@ -DESIGN_GOAL Latency
go architect
go allocate
go schedule
if {$opt(SYNTHESIS)} {
    go extract
}
project save
