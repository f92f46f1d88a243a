"""The native peer: runtime, links, executors, store and command line."""
