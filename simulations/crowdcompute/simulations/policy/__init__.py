"""The verification policy alone, at full size: a million chunks in seconds, by numpy, without records and frames.

    blind_audits   ours, with the numbers of protocol/policy.py and protocol/tally.py
    majority, adaptive, credibility   what others do, on the same chunks, against the same adversaries

Time goes in rounds: in one round every worker executes one chunk. There is no latency, no loss, no batch and no end
game; what these change is measured against the real protocol code (docs/verification.md, "Do the two agree?").
This package is the only one that needs numpy.
"""
