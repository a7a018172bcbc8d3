// Dovetail's stand-in: waiting takes no time in software.
#ifndef DOVETAIL_AP_UTILS_H
#define DOVETAIL_AP_UTILS_H
inline void ap_wait() {}
inline void ap_wait_n(int) {}
#endif
