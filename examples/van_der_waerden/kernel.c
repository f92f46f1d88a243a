// One cube of a SAT problem, as a reactor module (protocol/spec/modules.md): cube and conquer.
//
// In:  little-endian i32s: how many literals the cube has, these literals, how many variables there are, then the
//      clauses, each ended by 0, as in DIMACS.
// Out: nothing, if no assignment satisfies the clauses within this cube; otherwise one byte, 0 or 1, for each variable.
//
// A small solver that learns: two watched literals, clauses learned at the first unique implication point, the variable
// that took part in most conflicts next, restarts after Luby's sequence. No clock and no chance: the same everywhere.

#include <stdint.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

enum { INPUT_MAX = 1 << 18, VARIABLES_MAX = 2048, LITERALS_MAX = 1 << 22, CLAUSES_MAX = 1 << 18, WATCHES_MAX = 1 << 20 };

static int32_t input[INPUT_MAX];
static uint8_t output[VARIABLES_MAX];
static const char *error = "";

// Clauses one after the other: a length, then that many literals. A literal is 2 * variable, plus 1 if negated.
static int32_t pool[LITERALS_MAX];
static int32_t pool_size, clause_count, variables;

// Watches of a literal as a list, newest first.
static int32_t watch_clause[WATCHES_MAX], watch_next[WATCHES_MAX], watch_head[2 * VARIABLES_MAX], watch_count;

static int8_t value[VARIABLES_MAX]; // -1 unknown, else the variable's value
static int8_t saved[VARIABLES_MAX];
static int32_t level_of[VARIABLES_MAX], reason_of[VARIABLES_MAX], trail[VARIABLES_MAX], trail_size, head;
static int32_t level_at[VARIABLES_MAX], level;
static double activity[VARIABLES_MAX], step;
static uint8_t seen[VARIABLES_MAX];

static int literal_value(int32_t literal) {
    int8_t of = value[literal >> 1];
    return of < 0 ? -1 : of ^ (literal & 1);
}

static int watch(int32_t literal, int32_t clause) {
    if (watch_count == WATCHES_MAX) return 0;
    int32_t at = watch_count++;
    watch_clause[at] = clause;
    watch_next[at] = watch_head[literal];
    watch_head[literal] = at;
    return 1;
}

static void assign(int32_t literal, int32_t reason) {
    int32_t variable = literal >> 1;
    value[variable] = !(literal & 1);
    level_of[variable] = level;
    reason_of[variable] = reason;
    trail[trail_size++] = literal;
}

static void back_to(int32_t target) {
    if (level <= target) return;
    int32_t keep = level_at[target + 1];
    while (trail_size > keep) {
        int32_t variable = trail[--trail_size] >> 1;
        saved[variable] = value[variable];
        value[variable] = -1;
    }
    head = trail_size;
    level = target;
}

// The clause that cannot be satisfied any more; -1 if there is none.
static int32_t propagate(void) {
    while (head < trail_size) {
        int32_t lost = trail[head++] ^ 1;
        int32_t *link = &watch_head[lost];
        while (*link >= 0) {
            int32_t at = *link, *clause = pool + watch_clause[at] + 1, size = clause[-1];
            if (clause[0] == lost) clause[0] = clause[1], clause[1] = lost;
            int32_t other = literal_value(clause[0]);
            if (other == 1) {
                link = &watch_next[at];
                continue;
            }
            int32_t found = 0;
            for (int32_t i = 2; i < size && !found; i++)
                if (literal_value(clause[i]) != 0) found = i;
            if (found) {
                clause[1] = clause[found];
                clause[found] = lost;
                *link = watch_next[at];
                watch_next[at] = watch_head[clause[1]];
                watch_head[clause[1]] = at;
            } else if (other == 0) {
                return watch_clause[at];
            } else {
                assign(clause[0], watch_clause[at]);
                link = &watch_next[at];
            }
        }
    }
    return -1;
}

static void bump(int32_t variable) {
    activity[variable] += step;
    if (activity[variable] > 1e100) {
        for (int32_t i = 0; i < variables; i++) activity[i] *= 1e-100;
        step *= 1e-100;
    }
}

// Learn from a conflict: the new clause stands at the end of the pool; the level to go back to.
static int32_t learn(int32_t conflict) {
    int32_t start = pool_size + 1, size = 1, open = 0, at = trail_size, reason = conflict, literal = -1, target = 0;
    do {
        int32_t *clause = pool + reason + 1;
        for (int32_t i = 0; i < clause[-1]; i++) {
            int32_t other = clause[i], variable = other >> 1;
            if (other == literal || seen[variable] || level_of[variable] == 0) continue;
            seen[variable] = 1;
            bump(variable);
            if (level_of[variable] == level) open++;
            else {
                pool[start + size++] = other;
                if (level_of[variable] > target) {
                    target = level_of[variable];
                    // The second literal watches, so it must be of the highest level left.
                    int32_t first = pool[start + 1];
                    pool[start + 1] = other;
                    pool[start + size - 1] = first;
                }
            }
        }
        while (!seen[trail[--at] >> 1]) {}
        literal = trail[at];
        seen[literal >> 1] = 0;
        reason = reason_of[literal >> 1];
    } while (--open > 0);
    pool[start] = literal ^ 1;
    pool[start - 1] = size;
    for (int32_t i = 1; i < size; i++) seen[pool[start + i] >> 1] = 0;
    step /= 0.95;
    return target;
}

static int64_t luby(int64_t i) {
    int64_t k = 1;
    while ((1ll << k) - 1 < i) k++;
    return (1ll << k) - 1 == i ? 1ll << (k - 1) : luby(i - (1ll << (k - 1)) + 1);
}

// 1: satisfied, 0: not satisfiable, -1: out of room.
static int solve(void) {
    int64_t restarts = 1, left = 64;
    for (;;) {
        int32_t conflict = propagate();
        if (conflict >= 0) {
            if (level == 0) return 0;
            if (pool_size + variables + 2 >= LITERALS_MAX) return -1;
            int32_t target = learn(conflict), clause = pool_size, size = pool[clause];
            back_to(target);
            int32_t first = pool[clause + 1];
            if (size > 1) {
                pool_size += size + 1;
                clause_count++;
                if (!watch(first, clause) || !watch(pool[clause + 2], clause)) return -1;
            }
            assign(first, size > 1 ? clause : -1);
            left--;
        } else if (left <= 0) {
            back_to(0);
            left = 64 * luby(++restarts);
        } else {
            int32_t next = -1;
            for (int32_t i = 0; i < variables; i++)
                if (value[i] < 0 && (next < 0 || activity[i] > activity[next])) next = i;
            if (next < 0) return 1;
            level_at[++level] = trail_size;
            assign(2 * next + !saved[next], -1);
        }
    }
}

static int32_t literal_of(int32_t dimacs) { return dimacs > 0 ? 2 * (dimacs - 1) : 2 * (-dimacs - 1) + 1; }

// 1: go on, 0: contradictory already, -1: not understood.
static int read(int32_t count) {
    int32_t at = 0, cube = count > 0 ? input[at++] : -1;
    if (cube < 0 || cube > count - 2) return -1;
    const int32_t *assumed = input + at;
    at += cube;
    variables = input[at++];
    if (variables < 1 || variables > VARIABLES_MAX) return -1;
    memset(watch_head, -1, sizeof watch_head);
    memset(value, -1, sizeof value);
    step = 1;
    for (int32_t i = 0; i < cube; i++) {
        if (assumed[i] == 0 || assumed[i] > variables || assumed[i] < -variables) return -1;
        int32_t literal = literal_of(assumed[i]), now = literal_value(literal);
        if (now == 0) return 0;
        if (now < 0) assign(literal, -1);
    }
    while (at < count) {
        int32_t start = pool_size + 1, size = 0;
        for (; at < count && input[at] != 0; at++) {
            if (input[at] > variables || input[at] < -variables || start + size >= LITERALS_MAX) return -1;
            pool[start + size++] = literal_of(input[at]);
        }
        if (at++ == count) return -1;
        // Literals that are not false watch; the search begins behind the cube.
        int32_t good = 0;
        for (int32_t i = 0; i < size && good < 2; i++)
            if (literal_value(pool[start + i]) != 0) {
                int32_t swapped = pool[start + good];
                pool[start + good++] = pool[start + i];
                pool[start + i] = swapped;
            }
        for (int32_t i = 0; i < size; i++) bump(pool[start + i] >> 1);
        if (good == 0) return 0;
        if (good == 1) {
            if (literal_value(pool[start]) < 0) assign(pool[start], -1);
            continue;
        }
        pool[start - 1] = size;
        pool_size = start + size;
        if (++clause_count > CLAUSES_MAX || !watch(pool[start], start - 1) || !watch(pool[start + 1], start - 1)) return -1;
    }
    return 1;
}

EXPORT("cc_alloc") void *cc_alloc(int32_t size) { return size <= (int32_t)sizeof input ? input : 0; }

EXPORT("cc_error") uint64_t cc_error(void) { return (uint64_t)(uintptr_t)error << 32 | strlen(error); }

EXPORT("cc_run") uint64_t cc_run(const int32_t *given, int32_t size) {
    (void)given;
    int readable = read(size / 4), found = readable > 0 ? solve() : readable;
    if (readable < 0 || found < 0) {
        error = readable < 0 ? "the input is no cube with its clauses" : "out of room for learned clauses";
        return ~0ull;
    }
    for (int32_t i = 0; i < variables; i++) output[i] = value[i] > 0;
    return (uint64_t)(uintptr_t)output << 32 | (uint32_t)(found ? variables : 0);
}
