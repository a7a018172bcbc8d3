void kmp_search(const char text[32], const char pattern[4], int &matches) {
    matches = 0;
    for (int i = 0; i + 4 <= 32; i++) {
        bool same = true;
        for (int k = 0; k < 4; k++) same = same && text[i + k] == pattern[k];
        matches += same;
    }
}
