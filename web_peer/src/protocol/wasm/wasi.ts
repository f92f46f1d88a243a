/**
 * The functions of WASI preview 1, and their types as a module must import them.
 *
 * What each does is spec/modules.md, "WASI subset": a virtual clock, seeded randomness, three streams, and an error for
 * everything else. sandbox/wasi.ts does it.
 */

export const MODULE = "wasi_snapshot_preview1";

export const I32 = 0x7f;
export const I64 = 0x7e;

/** Value type bytes of a function's parameters and results. */
export interface FunctionType {
  readonly parameters: Uint8Array;
  readonly results: Uint8Array;
}

const ERRNO_FUNCTIONS: Readonly<Record<string, string>> = {
  args_get: "ii",
  args_sizes_get: "ii",
  clock_res_get: "ii",
  clock_time_get: "iIi",
  environ_get: "ii",
  environ_sizes_get: "ii",
  fd_advise: "iIIi",
  fd_allocate: "iII",
  fd_close: "i",
  fd_datasync: "i",
  fd_fdstat_get: "ii",
  fd_fdstat_set_flags: "ii",
  fd_fdstat_set_rights: "iII",
  fd_filestat_get: "ii",
  fd_filestat_set_size: "iI",
  fd_filestat_set_times: "iIIi",
  fd_pread: "iiiIi",
  fd_prestat_dir_name: "iii",
  fd_prestat_get: "ii",
  fd_pwrite: "iiiIi",
  fd_read: "iiii",
  fd_readdir: "iiiIi",
  fd_renumber: "ii",
  fd_seek: "iIii",
  fd_sync: "i",
  fd_tell: "ii",
  fd_write: "iiii",
  path_create_directory: "iii",
  path_filestat_get: "iiiii",
  path_filestat_set_times: "iiiiIIi",
  path_link: "iiiiiii",
  path_open: "iiiiiIIii",
  path_readlink: "iiiiii",
  path_remove_directory: "iii",
  path_rename: "iiiiii",
  path_symlink: "iiiii",
  path_unlink_file: "iii",
  poll_oneoff: "iiii",
  proc_raise: "i",
  random_get: "ii",
  sched_yield: "",
  sock_accept: "iii",
  sock_recv: "iiiiii",
  sock_send: "iiiii",
  sock_shutdown: "ii",
};

export function functionType(parameters: readonly number[], results: readonly number[]): FunctionType {
  return { parameters: Uint8Array.from(parameters), results: Uint8Array.from(results) };
}

/** Types by function name. */
export const SIGNATURES: ReadonlyMap<string, FunctionType> = new Map([
  ...Object.entries(ERRNO_FUNCTIONS).map(
    ([name, letters]) =>
      [name, functionType(Array.from(letters, (letter) => (letter === "i" ? I32 : I64)), [I32])] as const,
  ),
  ["proc_exit", functionType([I32], [])] as const,
]);
