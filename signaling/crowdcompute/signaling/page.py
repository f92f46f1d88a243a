"""The page behind a join link where no page was built (web.py): plain words, no script, nothing loaded."""

from __future__ import annotations

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>CrowdCompute</title>
<style>
  body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }
  code { background: #8882; padding: .15em .4em; border-radius: .3em; }
  @media (prefers-color-scheme: dark) { body { background: #111; color: #ddd; } }
</style>
<h1>You are invited to compute</h1>
<p>Somebody shares a big computation with volunteers. It is cut into small pieces; your computer may work on some of
them, in a sandbox that can neither read your files nor use your network. Results go directly to whoever needs them.</p>
<h2>How to join</h2>
<p>Install CrowdCompute on your computer (it needs Python 3.11), then copy this page's whole address, the part after
<code>#</code> included, and run:</p>
<p><code>cc-node run 'THE ADDRESS OF THIS PAGE'</code></p>
<p>Stop it at any time with Ctrl+C. Joining from the browser alone is not possible here: this server
runs from a checkout whose page was not built (<code>python web_peer/build_page.py</code> builds it).</p>
<h2>What this server does</h2>
<p>It introduces computers to each other. It passes on the few messages they need to connect directly, sees neither
tasks nor results, and stores nothing.</p>
</html>
"""
