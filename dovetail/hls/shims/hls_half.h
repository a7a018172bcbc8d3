// Dovetail's stand-in for half precision: the compiler's own 16-bit float.
#ifndef DOVETAIL_HLS_HALF_H
#define DOVETAIL_HLS_HALF_H
typedef _Float16 half;
#endif
