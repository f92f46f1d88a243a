"""What a node keeps on disk: the signed records of its tasks (`records`), and blobs by their hash (`blobs`).

Both survive kill -9 at any moment. Nothing is imported here: `records` brings SQLAlchemy, which takes half a second of
CPU to import, and only a running node needs it.
"""
