// Dovetail's stand-in for an addressable shift register.
#ifndef DOVETAIL_AP_SHIFT_REG_H
#define DOVETAIL_AP_SHIFT_REG_H
template <typename T, unsigned DEPTH = 32> class ap_shift_reg {
  public:
    ap_shift_reg() : cells_() {}
    explicit ap_shift_reg(const char *) : cells_() {}
    T shift(T value, unsigned at = DEPTH - 1, bool enable = true) {
        T out = cells_[at];
        if (enable) {
            for (unsigned i = DEPTH - 1; i > 0; i--) cells_[i] = cells_[i - 1];
            cells_[0] = value;
        }
        return out;
    }
    T read(unsigned at = DEPTH - 1) const { return cells_[at]; }

  private:
    T cells_[DEPTH];
};
#endif
