"""What all tests share: the committed vectors that both languages read (STYLE.md section 11)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings

from .postgres_server import PostgresServer, running

# On shared cores a slow example is no failure; and a run that passed must pass again on the same code.
settings.register_profile("shared", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

VECTORS = Path(__file__).parent.parent / "protocol" / "vectors"


class ExpectVectors(Protocol):
    def __call__(self, name: str, content: object) -> None:
        """Fail unless `protocol/vectors/NAME.json` holds `content`; with `--write`, make it so."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="write protocol/vectors/*.json anew instead of comparing")


@pytest.fixture
def expect_vectors(request: pytest.FixtureRequest) -> ExpectVectors:
    write = bool(request.config.getoption("--write"))

    def expect(name: str, content: object) -> None:
        path = VECTORS / f"{name}.json"
        if write:
            path.write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
        assert json.loads(path.read_text(encoding="utf-8")) == content

    return expect


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running() as server:
        yield server
