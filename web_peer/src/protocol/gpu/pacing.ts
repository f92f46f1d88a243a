/**
 * How much of a chunk goes to a device at once (spec/gpu.md, "Dispatches").
 *
 * A device that is busy longer than 0.2 s makes a desktop stutter, and some systems reset it. So a chunk is many
 * dispatches: a small one first, and from each one's time the next one's size.
 */

const DISPATCH_S_AIM = 0.1;
export const GROUPS_FIRST = 16;
/** What WebGPU promises. */
const GROUPS_MAX = 65_535;
const GROWTH_MAX = 4;

/** How many workgroups to send after `groups` of them took `seconds`. */
export function nextGroups(groups: number, seconds: number): number {
  const fitting = seconds > 0 ? (groups * DISPATCH_S_AIM) / seconds : GROUPS_MAX;
  return Math.max(1, Math.min(Math.floor(fitting), GROWTH_MAX * groups, GROUPS_MAX));
}

/** How long to let a device alone after it was busy, at a share `power` of its time. */
export function restS(seconds: number, power: number): number {
  return seconds * (1 / power - 1);
}
