// Drive a design clock by clock. Either the words of every input come from a file, cycle by
// cycle; or sources present beats until they are accepted, and sinks are ready or not. The
// words of every output go to another file.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "Vbench.h"
#include "verilated.h"

static double now = 0;
double sc_time_stamp() { return now; }

static Vbench* bench;
static std::FILE* in;
static std::FILE* out;
static std::vector<EData> given;
static std::vector<EData> seen;

template <typename T>
static void read(T* to, size_t count) {
    if (std::fread(to, sizeof(T), count, in) != count) std::exit(4);
}

static int64_t number() {
    int64_t value;
    read(&value, 1);
    return value;
}

// Show what the edge that ends this cycle will see.
static void settle() {
    for (size_t i = 0; i < given.size(); ++i) bench->given[i] = given[i];
    bench->clk = 0;
    bench->eval();
    for (size_t i = 0; i < seen.size(); ++i) seen[i] = bench->seen[i];
}

static void write(const std::vector<EData>& words) {
    if (std::fwrite(words.data(), sizeof(EData), words.size(), out) != words.size()) std::exit(5);
}

static void tick() {
    bench->clk = 1;
    bench->eval();
    ++now;
}

static void replay(long cycles) {
    for (long cycle = 0; cycle < cycles; ++cycle) {
        read(given.data(), given.size());
        settle();
        write(seen);
        tick();
    }
}

// Places are words of `given`, but that of a source's ready and a sink's valid: of `seen`.
struct Source {
    int64_t valid, data, words, ready, beats;
    std::vector<int64_t> waits;  // before beat 0: the cycle; after the last beat: for ever
    std::vector<EData> rows;
    int64_t next = 0, due = 0;
    bool present = false;
};

struct Sink {
    int64_t ready, valid, expected;
    std::vector<int64_t> pattern;
    int64_t beats = 0;
};

struct Plan {
    int64_t limit, origin, drain, patience, noise;
    std::vector<Source> sources;
    std::vector<Sink> sinks;
    std::vector<EData> before, rows;

    Plan() {
        limit = number(), origin = number(), drain = number(), patience = number();
        noise = number();
        sources.resize(number());
        sinks.resize(number());
        for (Source& source : sources) {
            source.valid = number(), source.data = number(), source.words = number();
            source.ready = number(), source.beats = number();
            source.waits.resize(source.beats + 1);
            read(source.waits.data(), source.waits.size());
            source.due = source.waits[0];
        }
        for (Sink& sink : sinks) {
            sink.ready = number(), sink.valid = number(), sink.expected = number();
            sink.pattern.resize(number());
            read(sink.pattern.data(), sink.pattern.size());
        }
        before.resize(origin * given.size());
        read(before.data(), before.size());
        rows.resize(noise * given.size());
        read(rows.data(), rows.size());
        for (Source& source : sources) {
            source.rows.resize(source.beats * source.words);
            read(source.rows.data(), source.rows.size());
        }
    }

    void drive(int64_t cycle) {
        const bool early = cycle < origin;
        const int64_t row = early ? cycle : (cycle - origin) % noise;
        const size_t size = given.size() * sizeof(EData);
        std::memcpy(given.data(), &(early ? before : rows)[row * given.size()], size);
        for (Source& source : sources) {
            source.present = cycle >= source.due;
            if (!source.present) continue;
            given[source.valid] = 1;
            if (!source.words) continue;
            std::memcpy(&given[source.data], &source.rows[source.next * source.words],
                        source.words * sizeof(EData));
        }
        if (early) return;
        for (Sink& sink : sinks) {
            const uint64_t at = cycle - origin;
            given[sink.ready] = at < sink.pattern.size() ? sink.pattern[at] : 1;
        }
    }

    bool move(int64_t cycle) {
        bool moved = false;
        for (Source& source : sources) {
            if (!source.present || !seen[source.ready]) continue;
            moved = true;
            source.due = cycle + 1 + source.waits[++source.next];
        }
        for (Sink& sink : sinks) {
            if (cycle < origin || !given[sink.ready] || !seen[sink.valid]) continue;
            moved = true;
            ++sink.beats;
        }
        return moved;
    }

    bool complete() const {
        for (const Sink& sink : sinks)
            if (sink.beats < sink.expected) return false;
        return true;
    }
};

static void stream() {
    Plan plan;
    const bool limited = plan.limit >= 0;
    int64_t moved = plan.origin - 1;
    int64_t end = limited ? plan.limit : -1;
    if (!limited && plan.complete()) end = plan.origin + plan.drain;
    std::vector<EData> driven(plan.sources.size());
    for (int64_t cycle = 0; end < 0 || cycle < end; ++cycle) {
        plan.drive(cycle);
        settle();
        write(seen);
        for (size_t i = 0; i < driven.size(); ++i) driven[i] = given[plan.sources[i].valid];
        write(driven);
        if (plan.move(cycle)) moved = cycle;
        if (end < 0 && plan.complete()) end = cycle + 1 + plan.drain;
        if (end < 0 && cycle - moved > plan.patience) end = cycle + 1;
        tick();
    }
}

int main(int argc, char** argv) {
    if (argc != 6) return 2;
    Verilated::randReset(std::atoi(argv[4]));
    Verilated::randSeed(std::atoi(argv[5]));
    in = std::fopen(argv[1], "rb");
    out = std::fopen(argv[2], "wb");
    if (!in || !out) return 3;
    bench = new Vbench;
    given.resize(sizeof bench->given / sizeof(EData));
    seen.resize(sizeof bench->seen / sizeof(EData));
    if (std::strcmp(argv[3], "stream") == 0) {
        stream();
    } else {
        replay(std::atol(argv[3]));
    }
    if (std::fclose(out)) return 6;
    bench->final();
    delete bench;
    return 0;
}
