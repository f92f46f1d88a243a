// QuickJS-ng as a module without imports: the strict engine of JavaScript tasks (protocol/spec/javascript.md).
//
// One instance executes one chunk: qjs_alloc for the prelude, the source and the input; qjs_start(prelude, source),
// then qjs_run(input, …). Both return 0, or the address of a text that says why not. What run leaves is found by
// qjs_status, qjs_detail and qjs_data (start << 32 | length). All state between two calls is in linear memory, so that a
// copy of the memory after qjs_start, put into a new instance, does as well as calling it again.
//
// tests/node/test_js_builds.py builds quickjs.wasm from this file and the interpreter's sources (MIT, see LICENSE).

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "quickjs.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

// The interpreter checks its own stack, in linear memory; the engine's stack is deep enough for that many frames.
enum { STACK_BYTES = 512 * 1024 };

static JSRuntime *runtime;
static JSContext *context;
static JSValue program;
static int32_t status;
static char words[1024];
static const char *detail = "";
static const uint8_t *data;
static size_t data_bytes, detail_bytes;

// ---- what the C library would ask of a system: there is none

int clock_gettime(clockid_t clock, struct timespec *time) {
    time->tv_sec = 0;
    time->tv_nsec = 0;
    return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    time->tv_sec = 0;
    time->tv_usec = 0;
    return 0;
}

void abort(void) { __builtin_trap(); }

_Noreturn void __assert_fail(const char *claim, const char *file, int line, const char *function) { __builtin_trap(); }

_Noreturn void exit(int code) { __builtin_trap(); }

// What prints for the interpreter's developers would import these.
#define WITHOUT(name, ...) \
    int32_t __imported_wasi_snapshot_preview1_##name(__VA_ARGS__) { return 8; }

int close(int fd) { return -1; }
WITHOUT(fd_fdstat_get, int32_t fd, int32_t result)
WITHOUT(fd_seek, int32_t fd, int64_t offset, int32_t whence, int32_t result)
WITHOUT(fd_write, int32_t fd, int32_t vectors, int32_t count, int32_t done)

// ---- libm for the prelude

typedef double One(double);
typedef double Two(double, double);

static const struct {
    const char *name;
    One *one;
    Two *two;
} functions[] = {
    {"acos", acos},   {"acosh", acosh}, {"asin", asin},   {"asinh", asinh}, {"atan", atan},
    {"atanh", atanh}, {"cbrt", cbrt},   {"cos", cos},     {"cosh", cosh},   {"exp", exp},
    {"expm1", expm1}, {"log", log},     {"log10", log10}, {"log1p", log1p}, {"log2", log2},
    {"sin", sin},     {"sinh", sinh},   {"tan", tan},     {"tanh", tanh},   {"atan2", 0, atan2},
    {"hypot", 0, hypot}, {"pow", 0, pow},
};

static JSValue call_libm(JSContext *ctx, JSValueConst this, int count, JSValueConst *values, int index) {
    double x, y = 0;
    if (JS_ToFloat64(ctx, &x, values[0])) return JS_EXCEPTION;
    if (functions[index].one) return JS_NewFloat64(ctx, functions[index].one(x));
    if (JS_ToFloat64(ctx, &y, values[1])) return JS_EXCEPTION;
    return JS_NewFloat64(ctx, functions[index].two(x, y));
}

static JSValue make_libm(void) {
    JSValue libm = JS_NewObject(context);
    for (int i = 0; i < (int)(sizeof functions / sizeof *functions); i++) {
        int length = functions[i].one ? 1 : 2;
        JSValue made =
            JS_NewCFunctionMagic(context, call_libm, functions[i].name, length, JS_CFUNC_generic_magic, i);
        JS_SetPropertyStr(context, libm, functions[i].name, made);
    }
    return libm;
}

// ---- for the host

static const char *failure(const char *where) {
    JSValue error = JS_GetException(context);
    const char *text = JS_ToCString(context, error);
    size_t length = strlen(where);
    memcpy(words, where, length);
    strncpy(words + length, text ? text : "out of memory", sizeof words - length - 1);
    return words;
}

void *EXPORT(qjs_alloc)(size_t size) { return malloc(size ? size : 1); }

// Evaluate the prelude and compile the source; both end with a zero byte, which their lengths do not count.
const char *EXPORT(qjs_start)(const char *prelude, size_t prelude_bytes, const char *source, size_t source_bytes,
                              size_t memory_bytes) {
    runtime = JS_NewRuntime();
    if (!runtime) return "out of memory";
    JS_SetMemoryLimit(runtime, memory_bytes);
    JS_SetMaxStackSize(runtime, STACK_BYTES);
    context = JS_NewContext(runtime);
    if (!context) return "out of memory";
    JSValue function = JS_Eval(context, prelude, prelude_bytes, "prelude", JS_EVAL_TYPE_GLOBAL);
    if (JS_IsException(function)) return failure("prelude: ");
    JSValue libm = make_libm();
    JSValue made = JS_Call(context, function, JS_UNDEFINED, 1, &libm);
    if (JS_IsException(made)) return failure("prelude: ");
    JSValue load = JS_GetPropertyStr(context, made, "load");
    JSValue text = JS_NewStringLen(context, source, source_bytes);
    program = JS_Call(context, load, JS_UNDEFINED, 1, &text);
    if (!JS_IsException(program)) return 0;
    JSValue error = JS_GetException(context);
    JSValue message = JS_GetPropertyStr(context, error, "message");
    const char *reason = JS_ToCString(context, message);
    return reason ? reason : "out of memory";
}

// Execute the one chunk: its numbers, or its bytes.
const char *EXPORT(qjs_run)(const uint8_t *input, size_t input_bytes, int32_t numbers, uint64_t seed,
                            uint32_t output_bytes) {
    JSValue arguments[4] = {JS_NULL, JS_UNDEFINED, JS_NewBigUint64(context, seed),
                            JS_NewInt64(context, output_bytes)};
    if (numbers) {
        arguments[0] = JS_NewArray(context);
        for (uint32_t i = 0; i < input_bytes / 8; i++) {
            int64_t number;
            memcpy(&number, input + 8 * i, 8);
            JS_SetPropertyUint32(context, arguments[0], i, JS_NewBigInt64(context, number));
        }
        input_bytes = 0;
    }
    arguments[1] = JS_NewUint8ArrayCopy(context, (uint8_t *)input, input_bytes);
    if (JS_IsException(arguments[1])) return failure("");
    JSValue end = JS_Call(context, program, JS_UNDEFINED, 4, arguments);
    if (JS_IsException(end)) return failure("");
    JS_ToInt32(context, &status, JS_GetPropertyStr(context, end, "status"));
    detail = JS_ToCStringLen(context, &detail_bytes, JS_GetPropertyStr(context, end, "detail"));
    data = JS_GetUint8Array(context, &data_bytes, JS_GetPropertyStr(context, end, "data"));
    return detail && (data || !data_bytes) ? 0 : "out of memory";
}

int32_t EXPORT(qjs_status)(void) { return status; }

uint64_t EXPORT(qjs_detail)(void) { return (uint64_t)(uintptr_t)detail << 32 | detail_bytes; }

uint64_t EXPORT(qjs_data)(void) { return (uint64_t)(uintptr_t)data << 32 | data_bytes; }
