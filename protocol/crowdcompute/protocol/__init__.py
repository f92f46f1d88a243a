"""The rules of the network, without any I/O."""
