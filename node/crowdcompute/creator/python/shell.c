// CPython as a module without imports: what `cc-task build` makes a kernel in Python from.
//
// The build calls py_alloc and py_start in an instance of this module, and writes what memory holds then into a copy of
// it. That is the task's module, a reactor (protocol/spec/modules.md) whose interpreter has started, has executed the
// kernel's top level, and waits for a chunk. All it can read is in that memory: there is no file, no clock, no chance.
//
// build.py compiles python.wasm from this file and CPython's sources (see LICENSE).

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <malloc.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "frozen_encodings.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

static uint64_t seed;
static uint64_t chance;
static PyObject *run_chunk;  // of entry.py
static uint64_t error_span;

// ---- what the C library would ask of a system: there is none. build.py writes absent.h, all other calls of WASI.

#include "absent.h"

int clock_gettime(clockid_t clock, struct timespec *time) {
    time->tv_sec = 0;
    time->tv_nsec = 0;
    return 0;
}

void abort(void) { __builtin_trap(); }

_Noreturn void pthread_exit(void *value) { __builtin_trap(); }

int close(int fd) { return -1; }

_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(int32_t code) { __builtin_trap(); }

int32_t __imported_wasi_snapshot_preview1_environ_sizes_get(int32_t count, int32_t size) {
    *(uint32_t *)(uintptr_t)count = *(uint32_t *)(uintptr_t)size = 0;
    return 0;
}

// splitmix64 from the chunk's seed, as modules.md has it for commands.
int32_t __imported_wasi_snapshot_preview1_random_get(int32_t start, int32_t count) {
    uint8_t *place = (uint8_t *)(uintptr_t)start;
    for (uint32_t done = 0; done < (uint32_t)count; done += 8) {
        uint64_t z = (chance += 0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        z ^= z >> 31;
        memcpy(place + done, &z, count - done < 8 ? count - done : 8);
    }
    return 0;
}

// ---- the interpreter

static const struct _frozen encodings[] = {
    {"encodings", frozen_encodings, sizeof frozen_encodings, 1},
    {"encodings.aliases", frozen_encodings_aliases, sizeof frozen_encodings_aliases, 0},
    {"encodings.ascii", frozen_encodings_ascii, sizeof frozen_encodings_ascii, 0},
    {"encodings.latin_1", frozen_encodings_latin_1, sizeof frozen_encodings_latin_1, 0},
    {"encodings.utf_8", frozen_encodings_utf_8, sizeof frozen_encodings_utf_8, 0},
    {0, 0, 0, 0},
};

static const char *start_python(void) {
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    if (PyStatus_Exception(Py_PreInitialize(&before))) return "Python does not start";
    PyImport_FrozenModules = encodings;
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.use_hash_seed = 1;  // one order of sets on every machine
    config.hash_seed = 0;
    config.site_import = 0;
    config.write_bytecode = 0;
    config.install_signal_handlers = 0;
    config.module_search_paths_set = 1;
    config.pathconfig_warnings = 0;
    wchar_t **places[] = {&config.executable,  &config.base_executable,  &config.prefix,     &config.base_prefix,
                          &config.exec_prefix, &config.base_exec_prefix, &config.platlibdir, &config.home};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (PyStatus_Exception(PyConfig_SetString(&config, places[i], L"/"))) return "out of memory";
    PyStatus status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (!PyStatus_Exception(status)) return 0;
    return status.err_msg ? status.err_msg : "Python does not start";
}

static const char *failure(void) {
    static char words[4096];
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *text = value ? PyObject_Str(value) : 0;
    const char *said = text ? PyUnicode_AsUTF8(text) : 0;
    strncpy(words, said ? said : "out of memory", sizeof words - 1);
    return words;
}

// ---- for the build

void *EXPORT(py_alloc)(size_t size) { return malloc(size ? size : 1); }

// Start the interpreter, evaluate entry.py, and have it execute the kernel's top level; 0, or a text that says why that
// fails. `library` holds the sources that may be imported. Nobody looks at these texts afterwards.
const char *EXPORT(py_start)(const char *entry, const char *library, size_t library_bytes, const char *source,
                             size_t source_bytes, int json_arguments) {
    const char *refusal = start_python();
    if (refusal) return refusal;
    PyObject *module = PyModule_New("crowdcompute_entry");
    if (!module) return failure();
    PyObject *globals = PyModule_GetDict(module);
    PyObject *code = Py_CompileString(entry, "entry.py", Py_file_input);
    if (!code || PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins())) return failure();
    PyObject *evaluated = PyEval_EvalCode(code, globals, globals);
    if (!evaluated) return failure();
    Py_DECREF(evaluated);
    Py_DECREF(code);
    PyObject *view = PyMemoryView_FromMemory((char *)library, library_bytes, PyBUF_READ);
    if (!view) return failure();
    PyObject *loaded = PyObject_CallMethod(module, "load", "Oy#i", view, source,
                                           (Py_ssize_t)source_bytes, json_arguments);
    if (!loaded) return failure();
    Py_DECREF(loaded);
    Py_DECREF(view);
    run_chunk = PyObject_GetAttrString(module, "run_chunk");
    if (!run_chunk) return failure();
    PyGC_Collect();
    return 0;
}

// Take all that is free, wipe it, and give it back, so that no module carries what nobody will read. The host lets memory
// grow no more.
void EXPORT(py_wipe)(void) {
    void *taken = 0;
    for (size_t size = 1 << 24; size >= sizeof taken; size /= 2) {
        for (void *piece; (piece = malloc(size));) {
            memset(piece, 0, malloc_usable_size(piece));
            *(void **)piece = taken;
            taken = piece;
        }
    }
    while (taken) {
        void *piece = taken;
        taken = *(void **)piece;
        *(void **)piece = 0;
        free(piece);
    }
}

// ---- for volunteers

void *EXPORT(cc_alloc)(size_t size) { return malloc(size ? size : 1); }

void EXPORT(cc_seed)(uint64_t value) { seed = chance = value; }

uint64_t EXPORT(cc_run)(const char *input, size_t input_bytes) {
    PyObject *end = PyObject_CallFunction(run_chunk, "y#K", input, (Py_ssize_t)input_bytes, seed);
    if (!end) __builtin_trap();  // the end of memory, which has no result
    char *data;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(PyTuple_GET_ITEM(end, 1), &data, &length)) __builtin_trap();
    uint64_t span = (uint64_t)(uintptr_t)data << 32 | (uint32_t)length;
    if (PyTuple_GET_ITEM(end, 0) == Py_True) return span;
    error_span = span;
    return UINT64_MAX;
}

uint64_t EXPORT(cc_error)(void) { return error_span; }
