// Runs the probe and prints what its two AMX instructions read, as one line of hexadecimal bytes each.
#include <cstdio>

extern "C" void configure();
extern "C" void load(int first);
extern "C" {
// The probe's AMX instructions are replaced by copies to these arrays.
alignas(64) unsigned char seen_config[64];
alignas(64) unsigned char seen_tile[64];
}

static void print(const unsigned char (&bytes)[64]) {
    for (unsigned char byte : bytes) {
        std::printf("%02x", byte);
    }
    std::printf("\n");
}

int main() {
    configure();
    print(seen_config);
    load(3);
    print(seen_tile);
}
