"""A real Postgres server for the tests of the store, as Debian's package `postgresql` brings it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import URL

from crowdcompute.node.store.database import PostgresPlace


@dataclass
class PostgresServer:
    """One server on a socket in its own folder; no port."""

    folder: Path
    programs: Path
    user: int | None
    """Whom it runs as. It refuses to be root's."""
    schemas: int = field(default=0, init=False)
    databases: int = field(default=0, init=False)

    def start(self) -> None:
        # No fsync: no test cuts the power, and the kernel keeps what a killed process has written.
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", self.folder / "data", "-l", self.folder / "log", "-o", options)

    def stop(self) -> None:
        """As kill -9 would: nobody is heard out, nothing is tidied up."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.folder / "data")

    def make(self) -> None:
        self._run("initdb", "-D", self.folder / "data", "-A", "trust", "-U", "cc", "-E", "UTF8", "--no-sync")

    @property
    def url(self) -> URL:
        return URL.create("postgresql", username="cc", database="postgres", query={"host": str(self.folder)})

    def database(self) -> URL:
        """A database of its own, for commands: they choose the schema themselves."""
        self.databases += 1
        name = f"cc{self.databases}"
        with psycopg.connect(self.url.render_as_string(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url.set(database=name)

    def place(self) -> PostgresPlace:
        """Where nothing is yet."""
        self.schemas += 1
        return PostgresPlace.parse(self.url.render_as_string(), f"crowdcompute_{self.schemas}")

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        # Not the pipes of the tests: the server would hold them open.
        with (self.folder / f"{program}.log").open("wb") as log:
            subprocess.run(command, check=True, user=self.user, cwd=self.folder, stdout=log, stderr=log)


@contextmanager
def running() -> Iterator[PostgresServer]:
    """A server of its own, until the block ends."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
    if programs is None:
        initdb = shutil.which("initdb")
        assert initdb is not None, "apt-get install postgresql"
        programs = Path(initdb).parent
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    # Not below pytest's own folder, which only its owner may enter. Sockets want short names, too.
    with tempfile.TemporaryDirectory(prefix="cc-pg-") as name:
        server = PostgresServer(Path(name), programs, user)
        if user is not None:
            os.chown(name, user, -1)
        server.make()
        server.start()
        yield server
        server.stop()
