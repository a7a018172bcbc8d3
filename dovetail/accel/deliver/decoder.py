"""The program of ``make sim``: a prompt into the image of memory, the simulator started, its tokens printed as text."""

from __future__ import annotations

TEXT = r"""// Puts a prompt into an image of memory, runs the simulator on it and prints its tokens as text.
//   decode VOCABULARY IMAGE SIMULATOR list=WORD program=WORD word=BYTES columns=N context=N tokens=N
//          latency=N bytes=N cycles=N
// The prompt is the environment's PROMPT (text) or PROMPT_IDS (numbers). Text is cut by the merges of the vocabulary,
// without the patterns by which some tokenizers part words first: rarely, at runs of blanks, tokens differ from theirs.
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
#include <utility>
#include <vector>

struct Vocabulary {
    std::vector<int> begin;
    std::string symbols, prepend;
    std::map<int, std::string> text;
    std::map<std::string, int> id;
    std::map<std::pair<std::string, std::string>, int> rank;
};

static std::string unhex(const std::string& hex) {
    std::string out;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) out += char(std::stoi(hex.substr(i, 2), nullptr, 16));
    return out;
}

static Vocabulary read(const char* path) {
    Vocabulary found;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string kind, first, second;
        words >> kind;
        if (kind == "begin") for (int id; words >> id;) found.begin.push_back(id);
        else if (kind == "symbols") words >> found.symbols;
        else if (kind == "prepend") { words >> first; found.prepend = unhex(first); }
        else if (kind == "token") {
            int id;
            words >> id >> first;
            found.text[id] = unhex(first);
            if (!first.empty()) found.id[unhex(first)] = id;   // a later token of the same bytes is the merged one
        } else if (kind == "merge") {
            words >> first >> second;
            int place = int(found.rank.size());
            found.rank.insert({{unhex(first), unhex(second)}, place});
        }
    }
    return found;
}

static std::vector<int> encode(const Vocabulary& known, const std::string& prompt) {
    if (known.symbols.empty()) { std::cerr << "this tokenizer reads no text here: give PROMPT_IDS\n"; exit(2); }
    std::string all = known.prepend + prompt;
    std::vector<std::string> parts;
    for (size_t i = 0; i < all.size();) {
        size_t size = 1;
        if (known.symbols == "characters")
            while (i + size < all.size() && (all[i + size] & 0xC0) == 0x80) size++;
        parts.push_back(all.substr(i, size));
        i += size;
    }
    for (;;) {
        int best = -1, at = -1;
        for (size_t i = 0; i + 1 < parts.size(); i++) {
            auto found = known.rank.find({parts[i], parts[i + 1]});
            if (found != known.rank.end() && (best < 0 || found->second < best)) { best = found->second; at = int(i); }
        }
        if (at < 0) break;
        parts[at] += parts[at + 1];
        parts.erase(parts.begin() + at + 1);
    }
    std::vector<int> ids = known.begin;
    for (const std::string& part : parts) {
        auto found = known.id.find(part);
        if (found != known.id.end()) { ids.push_back(found->second); continue; }
        for (char byte : part) {   // a character that is no token, byte by byte
            found = known.id.find(std::string(1, byte));
            if (found == known.id.end()) { std::cerr << "no token for a character of the prompt\n"; exit(2); }
            ids.push_back(found->second);
        }
    }
    return ids;
}

int main(int count, char** arguments) {
    std::map<std::string, uint64_t> option;
    for (int i = 4; i < count; i++) {
        std::string text = arguments[i];
        size_t equals = text.find('=');
        option[text.substr(0, equals)] = strtoull(text.c_str() + equals + 1, nullptr, 10);
    }
    Vocabulary known = read(arguments[1]);
    std::vector<int> ids;
    const char *text = getenv("PROMPT"), *given = getenv("PROMPT_IDS");
    if (text && *text) ids = encode(known, text);
    else if (given) { std::istringstream numbers(given); for (int id; numbers >> id;) ids.push_back(id); }
    if (ids.empty()) { std::cerr << "no prompt: PROMPT or PROMPT_IDS\n"; return 2; }
    uint64_t total = ids.size() + option["tokens"];
    if (total > option["context"]) {
        std::cerr << ids.size() << " tokens of the prompt and " << option["tokens"] << " are more than the context of "
                  << option["context"] << "\n";
        return 2;
    }
    std::ifstream image(arguments[2], std::ios::binary);
    std::string memory((std::istreambuf_iterator<char>(image)), {});
    const uint64_t lanes = option["word"] / option["columns"];
    for (size_t i = 0; i < ids.size(); i++) {
        uint64_t at = (option["list"] + i / option["columns"]) * option["word"] + i % option["columns"] * lanes;
        for (int b = 0; b < 4; b++) memory[at + b] = char(uint32_t(ids[i]) >> (8 * b));
    }
    std::string started = std::string(arguments[3]) + ".image";
    std::ofstream(started, std::ios::binary) << memory;

    std::string shown;
    for (int id : ids) shown += known.text[id];
    if (!known.prepend.empty() && shown.compare(0, known.prepend.size(), known.prepend) == 0)
        shown.erase(0, known.prepend.size());
    std::cout << shown << std::flush;
    std::ostringstream command;
    command << "exec '" << arguments[3] << "' '" << started << "' - prompt=" << ids.size() << " total=" << total;
    for (const char* name : {"program", "list", "latency", "bytes", "cycles"})
        command << " " << name << "=" << option[name];
    FILE* pipe = popen(command.str().c_str(), "r");
    if (!pipe) { std::cerr << "cannot start the simulator\n"; return 4; }
    unsigned long long made = 0, decode = 0, one = 0;
    char line[65536];
    while (fgets(line, sizeof line, pipe)) {
        unsigned long long cycles, words;
        int index, id, position, tokens;
        if (sscanf(line, "token %d %d", &index, &id) == 2) { std::cout << known.text[id] << std::flush; made++; }
        const char* form = "pass position=%d tokens=%d cycles=%llu words=%llu";
        if (sscanf(line, form, &position, &tokens, &cycles, &words) == 4 && tokens == 1) { decode += cycles; one++; }
    }
    int status = pclose(pipe);
    std::cout << std::endl;
    std::cerr << made << " tokens";
    if (one) std::cerr << ", " << decode / one << " cycles a token";
    std::cerr << "\n";
    return WIFEXITED(status) ? WEXITSTATUS(status) : 130;
}
"""
