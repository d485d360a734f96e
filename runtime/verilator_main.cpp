// Drive a design clock by clock: words of every input in, words of every output out.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "Vbench.h"
#include "verilated.h"

static double now = 0;
double sc_time_stamp() { return now; }

int main(int argc, char** argv) {
    if (argc != 6) return 2;
    const long cycles = std::atol(argv[3]);
    Verilated::randReset(std::atoi(argv[4]));
    Verilated::randSeed(std::atoi(argv[5]));
    std::FILE* in = std::fopen(argv[1], "rb");
    std::FILE* out = std::fopen(argv[2], "wb");
    if (!in || !out) return 3;
    Vbench* const bench = new Vbench;
    std::vector<EData> given(sizeof bench->given / sizeof(EData));
    std::vector<EData> seen(sizeof bench->seen / sizeof(EData));
    for (long cycle = 0; cycle < cycles; ++cycle, ++now) {
        if (std::fread(given.data(), sizeof(EData), given.size(), in) != given.size()) return 4;
        for (size_t i = 0; i < given.size(); ++i) bench->given[i] = given[i];
        bench->clk = 0;
        bench->eval();  // what the edge that ends this cycle will see
        for (size_t i = 0; i < seen.size(); ++i) seen[i] = bench->seen[i];
        if (std::fwrite(seen.data(), sizeof(EData), seen.size(), out) != seen.size()) return 5;
        bench->clk = 1;
        bench->eval();
    }
    if (std::fclose(out)) return 6;
    bench->final();
    delete bench;
    return 0;
}
