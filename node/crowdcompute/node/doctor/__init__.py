"""`cc-node doctor`: what stands between this machine and taking part, one row each."""
