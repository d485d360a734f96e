// Show every wire of a design to a value change dump, while its inputs follow a file. Cycle t
// lasts from time 10 t on; the clock rises where a cycle begins and falls in the middle of it.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Vbench.h"
#include "verilated.h"
#include "verilated_vcd_c.h"

double sc_time_stamp() { return 0; }

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    Verilated::traceEverOn(true);
    Verilated::randReset(2);
    Verilated::randSeed(1);
    std::FILE* const in = std::fopen(argv[1], "rb");
    if (!in) return 3;
    Vbench* const bench = new Vbench;
    VerilatedVcdC* const waves = new VerilatedVcdC;
    bench->trace(waves, 99);
    waves->set_time_resolution("1ns");
    waves->set_time_unit("1ns");
    waves->open(argv[2]);
    std::vector<EData> given(sizeof bench->given / sizeof(EData));
    const long cycles = std::atol(argv[3]);
    bench->clk = 0;
    for (long cycle = 0; cycle < cycles; ++cycle) {
        if (std::fread(given.data(), sizeof(EData), given.size(), in) != given.size()) return 4;
        for (size_t i = 0; i < given.size(); ++i) bench->given[i] = given[i];
        bench->eval();
        waves->dump(static_cast<uint64_t>(10 * cycle));
        bench->clk = 0;
        bench->eval();
        waves->dump(static_cast<uint64_t>(10 * cycle + 5));
        bench->clk = 1;
        bench->eval();
    }
    waves->close();
    bench->final();
    delete waves;
    delete bench;
    return 0;
}
