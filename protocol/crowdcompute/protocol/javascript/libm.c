// The functions of Math whose last bits ECMAScript leaves open, as musl computes them (MIT; zig ships it).
//
// `python -m crowdcompute.protocol.javascript.build_libm` would not be sans-I/O: tests/protocol/test_javascript_libm.py
// says how libm.wasm is built, and that building gives these bytes.

#include <math.h>

#define ONE(name) \
    __attribute__((export_name(#name))) double cc_##name(double x) { return name(x); }
#define TWO(name) \
    __attribute__((export_name(#name))) double cc_##name(double x, double y) { return name(x, y); }

ONE(acos) ONE(acosh) ONE(asin) ONE(asinh) ONE(atan) ONE(atanh) ONE(cbrt) ONE(cos) ONE(cosh) ONE(exp) ONE(expm1)
ONE(log) ONE(log10) ONE(log1p) ONE(log2) ONE(sin) ONE(sinh) ONE(tan) ONE(tanh)
TWO(atan2) TWO(hypot) TWO(pow)
