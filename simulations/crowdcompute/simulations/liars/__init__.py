"""Peers that do not do what they should, as plug-ins: `registry.py` names them, one small module holds each idea.

A liar is a real, correct `Peer` whose surroundings lie: it is told wrong outcomes, or what it asks to send is changed
on the way out. So it keeps every rule it does not break on purpose, as a clever adversary would, and honest peers only
ever see its bytes.
"""
