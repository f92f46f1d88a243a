// A chunk that takes minutes, and survives a pause, a kill and a restart: which of its numbers takes the most Collatz
// steps. A C program with a `main` becomes a command: numbers come as arguments, the result goes to stdout.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SAVEPOINT = 3, EVERY = 1 << 16 };

// All that the rest of the chunk depends on. A savepoint that lacks something gives another result when it is used,
// and whoever used it is convicted; `cc-task check` tries it.
static struct {
    int64_t next, longest, steps;
} state;

int main(int count, char **arguments) {
    if (count != 3) return 2;
    int64_t first = atoll(arguments[1]), end = atoll(arguments[2]);
    // Nothing is read when the chunk begins; the last savepoint, when it goes on.
    if (read(SAVEPOINT, &state, sizeof state) != sizeof state) state.next = first;
    for (; state.next < end; state.next++) {
        // One write is one savepoint. The volunteer's machine keeps one every few seconds, so many cost little.
        if (state.next % EVERY == 0) write(SAVEPOINT, &state, sizeof state);
        int64_t steps = 0;
        for (uint64_t n = (uint64_t)state.next; n > 1; steps++) n = n % 2 ? 3 * n + 1 : n / 2;
        if (steps > state.steps) {
            state.steps = steps;
            state.longest = state.next;
        }
    }
    printf("{\"longest\": %lld, \"steps\": %lld}", (long long)state.longest, (long long)state.steps);
    return 0;
}
