"""The program of ``make sim`` for a network: inputs into the image of memory, the simulator, classes printed."""

from __future__ import annotations

from dovetail.accel.compile.instruction import POSITIONS
from dovetail.accel.compile.schedule import Program
from dovetail.accel.golden.model import IntegerModel

TEXT = r"""// Puts inputs into an image of memory, runs the simulator on it and prints the class of each.
//   classify PLACES IMAGE SIMULATOR INPUTS EXPECTED list=WORD program=WORD word=BYTES columns=N context=N count=N
//            latency=N bytes=N cycles=N
// INPUTS is a .npy file of 32-bit or 64-bit floats (inputs first); EXPECTED a file of their classes, or - for none.
// PLACES says of each lane which number of an input stands there (-1: none), after `first` (the word of memory where
// inputs begin), `fraction` (bits) and `channels` (numbers of an input).
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <vector>

struct Array { size_t rows = 0, each = 1; std::vector<double> values; };

static void fail(const std::string& why) { std::cerr << why << "\n"; exit(2); }

static Array read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string all((std::istreambuf_iterator<char>(file)), {});
    if (all.size() < 12 || all.compare(0, 6, "\x93NUMPY")) fail(path + " is not a .npy file");
    bool old = all[6] == 1;
    size_t at = old ? 10 : 12, size = uint8_t(all[8]) | uint8_t(all[9]) << 8;
    if (!old) size |= size_t(uint8_t(all[10])) << 16 | size_t(uint8_t(all[11])) << 24;
    std::string head = all.substr(at, size);
    bool wide = head.find("'<f8'") != std::string::npos;
    if (!wide && head.find("'<f4'") == std::string::npos) fail(path + " holds no 32-bit or 64-bit floats");
    if (head.find("'fortran_order': True") != std::string::npos) fail(path + " is in Fortran's order");
    std::string shape = head.substr(head.find('(') + 1);
    std::istringstream extents(shape.substr(0, shape.find(')')));
    Array found;
    std::string extent;
    for (bool first = true; std::getline(extents, extent, ','); first = false) {
        if (extent.find_first_of("0123456789") == std::string::npos) continue;
        (first ? found.rows = 1, found.rows : found.each) *= std::stoull(extent);
    }
    const char* data = all.data() + at + size;
    size_t count = found.rows * found.each;
    if (all.size() - at - size < count * (wide ? 8 : 4)) fail(path + " is cut");
    for (size_t i = 0; i < count; i++) {
        double value; float single;
        if (wide) memcpy(&value, data + 8 * i, 8);
        else { memcpy(&single, data + 4 * i, 4); value = single; }
        found.values.push_back(value);
    }
    return found;
}

int main(int count, char** arguments) {
    std::map<std::string, uint64_t> option;
    for (int i = 6; i < count; i++) {
        std::string text = arguments[i];
        size_t equals = text.find('=');
        option[text.substr(0, equals)] = strtoull(text.c_str() + equals + 1, nullptr, 10);
    }
    std::ifstream known(arguments[1]);
    std::string word;
    long first = 0, fraction = 0, channels = 0;
    known >> word >> first >> word >> fraction >> word >> channels;
    std::vector<long> places;
    for (long place; known >> place;) places.push_back(place);
    Array inputs = read(arguments[4]);
    if (long(inputs.each) != channels)
        fail("inputs of " + std::to_string(inputs.each) + " numbers, the network reads " + std::to_string(channels));
    size_t rows = option["count"] ? std::min<size_t>(option["count"], inputs.rows) : inputs.rows;
    if (rows == 0) fail("no inputs");
    if (rows > option["context"])
        fail(std::to_string(rows) + " inputs, memory has room for " + std::to_string(option["context"]));
    std::ifstream image(arguments[2], std::ios::binary);
    std::string memory((std::istreambuf_iterator<char>(image)), {});
    const size_t columns = option["columns"], slice = option["word"] / columns, words = places.size() / columns;
    for (size_t row = 0; row < rows; row++)
        for (size_t lane = 0; lane < places.size(); lane++) {
            if (places[lane] < 0) continue;
            double scaled = std::nearbyint(inputs.values[row * inputs.each + places[lane]] * std::ldexp(1.0, fraction));
            int32_t value = int32_t(std::fmin(32767, std::fmax(-32768, scaled)));
            size_t at = (first + row * words + lane / columns) * option["word"] + lane % columns * slice;
            memcpy(&memory[at], &value, 4);
        }
    std::string started = std::string(arguments[3]) + ".image";
    std::ofstream(started, std::ios::binary) << memory;
    std::vector<int> expected;
    std::ifstream file(arguments[5]);
    for (int id; file >> id;) expected.push_back(id);
    std::ostringstream command;
    command << "exec '" << arguments[3] << "' '" << started << "' - prompt=1 total=" << rows + 1;
    for (const char* name : {"program", "list", "latency", "bytes", "cycles"})
        command << " " << name << "=" << option[name];
    FILE* pipe = popen(command.str().c_str(), "r");
    if (!pipe) { std::cerr << "cannot start the simulator\n"; return 4; }
    unsigned long long cycles = 0, passes = 0;
    size_t made = 0, compared = 0, same = 0;
    char line[65536];
    while (fgets(line, sizeof line, pipe)) {
        unsigned long long took, moved;
        int index, id, position, tokens;
        if (sscanf(line, "token %d %d", &index, &id) == 2 && index > 0) {
            std::cout << "input " << index - 1 << ": class " << id << std::endl;
            made++;
            if (size_t(index) <= expected.size()) { compared++; same += expected[index - 1] == id; }
        }
        const char* form = "pass position=%d tokens=%d cycles=%llu words=%llu";
        if (sscanf(line, form, &position, &tokens, &took, &moved) == 4) { cycles += took; passes++; }
    }
    int status = pclose(pipe);
    std::cerr << made << " inputs";
    if (passes) std::cerr << ", " << cycles / passes << " cycles an input";
    if (compared) std::cerr << ", " << same << " of " << compared << " classes are the integer model's";
    std::cerr << "\n";
    if (same != compared) return 4;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 130;
}
"""


def places_text(model: IntegerModel, program: Program, first: int) -> str:
    """Where the numbers of an input stand in words of memory, from word `first` on."""
    source = next(each.makes for each in program.instructions if each.op == POSITIONS)
    places = program.places[source]
    head = f"first {first} fraction {model.source_fraction} channels {int(places.max()) + 1}"
    return f"{head}\n{' '.join(map(str, places))}\n"
