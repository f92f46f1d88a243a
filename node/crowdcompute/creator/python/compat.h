// Included before every file of CPython: what zig's WASI has otherwise than CPython 3.11 expects.

#include <fcntl.h>

// There is no descriptor at all, and WASI's library says of any that it is open.
#define fcntl(...) (-1)

_Noreturn void pthread_exit(void *);
