/** What the guard adds to a kernel, as far as whoever runs it must know (spec/gpu.md, "Guard"). */

export const ENTRY = "g_main";
/** Of group 1; the kernel's own are in group 0. */
export const STATUS_BINDING = 0;
export const RUN_BINDING = 1;
/** A bit of the status word. Any that is set makes the chunk end without a result; the other is 1, out of fuel. */
export const OUT_OF_BOUNDS = 2;
