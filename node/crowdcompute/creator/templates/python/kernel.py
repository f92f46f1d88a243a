# One chunk: numbers or bytes in, bytes out, nothing else. `cc-task build` executes this file once, and the module holds
# what is in memory then: every chunk goes on from there. So import at the top. CPython 3.11 and most of its standard
# library are there; files, clocks and packages are not (docs/task-toml.md). `main` returns bytes, a text, or JSON.


def main(start: int, stop: int) -> dict[str, int]:
    if stop < start:
        raise ValueError("a range that runs backwards")
    return {"start": start, "stop": stop, "sum": sum(n * n for n in range(start, stop))}
