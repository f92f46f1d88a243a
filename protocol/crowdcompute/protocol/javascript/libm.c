// The functions of Math whose last bits ECMAScript leaves open, as zig's C library computes them: musl's, and zig's own
// versions of musl's (both MIT, see LICENSE). tests/node/test_js_builds.py builds libm.wasm from this file.

#include <math.h>

#define ONE(name) \
    __attribute__((export_name(#name))) double cc_##name(double x) { return name(x); }
#define TWO(name) \
    __attribute__((export_name(#name))) double cc_##name(double x, double y) { return name(x, y); }

ONE(acos) ONE(acosh) ONE(asin) ONE(asinh) ONE(atan) ONE(atanh) ONE(cbrt) ONE(cos) ONE(cosh) ONE(exp) ONE(expm1)
ONE(log) ONE(log10) ONE(log1p) ONE(log2) ONE(sin) ONE(sinh) ONE(tan) ONE(tanh)
TWO(atan2) TWO(hypot) TWO(pow)
