"""Examples of tasks. A package with this file, because libp2p installs one of the same name."""
