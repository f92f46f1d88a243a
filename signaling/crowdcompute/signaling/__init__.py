"""The signaling server: introduces strangers and knows nothing else."""
