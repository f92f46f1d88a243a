"""Run strangers' code: a pool of locked-down child processes, each with a WebAssembly engine."""
