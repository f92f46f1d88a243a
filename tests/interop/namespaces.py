"""Machines of a test, each in a network namespace of its own, and the network between them. Needs root on Linux.

    lab = Lab()                                  cleaned up by lab.close()
    relay, left = lab.machine("relay"), lab.machine("left")
    lab.cable(relay, left, "10.77.1")            10.77.1.1 and 10.77.1.2, and nothing beyond
    switch = lab.switch(["10.77.9.1", ...])      machines on one local network, which can be cut in two

A command runs on a machine by standing after `machine.prefix`. Machines have no route but to their cables: what they
can reach is what the test says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field


class NoNamespaces(Exception):
    """This machine cannot make network namespaces; the text says what it takes."""


@dataclass(frozen=True)
class Machine:
    name: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command so that it runs there."""
        return ("ip", "netns", "exec", self.name)

    def ip(self, *arguments: str) -> None:
        _ip("-n", self.name, *arguments)

    def reaches(self, address: str) -> bool:
        """Whether there is a route from here to `address`."""
        command = ("ip", "-n", self.name, "route", "get", address)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass
class Switch:
    """One local network that `split` cuts in two and `heal` joins again."""

    itself: Machine
    machines: list[Machine]

    def split(self, others: list[Machine]) -> None:
        """Cut these machines off from the rest; among themselves they stay connected."""
        for machine in others:
            self.itself.ip("link", "set", f"p{self.machines.index(machine)}", "master", "br1")

    def heal(self) -> None:
        for number in range(len(self.machines)):
            self.itself.ip("link", "set", f"p{number}", "master", "br0")

    def unplug(self, machine: Machine) -> None:
        self.itself.ip("link", "set", f"p{self.machines.index(machine)}", "down")


@dataclass
class Lab:
    _names: list[str] = field(default_factory=list)

    def machine(self, name: str) -> Machine:
        """A machine that has nothing but its loopback.

        Raises:
            NoNamespaces: It cannot be made here.
        """
        full = f"cc{os.getpid()}-{name}"
        if shutil.which("ip") is None:
            raise NoNamespaces("there is no `ip` command: apt-get install iproute2")
        made = subprocess.run(("ip", "netns", "add", full), capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise NoNamespaces(f"network namespaces take root on Linux, with CAP_SYS_ADMIN: {made.stderr.strip()}")
        self._names.append(full)
        machine = Machine(full)
        machine.ip("link", "set", "lo", "up")
        return machine

    def cable(self, one: Machine, other: Machine, subnet: str) -> None:
        """Connect two machines: `subnet`.1 is the first one's address and `subnet`.2 the other's."""
        ends = (f"v{len(self._names)}a", f"v{len(self._names)}b")
        while _exists(one, ends[0]) or _exists(other, ends[1]):
            ends = (f"{ends[0]}x", f"{ends[1]}x")
        _ip("link", "add", ends[0], "netns", one.name, "type", "veth", "peer", ends[1], "netns", other.name)
        for machine, end, address in ((one, ends[0], f"{subnet}.1/24"), (other, ends[1], f"{subnet}.2/24")):
            machine.ip("address", "add", address, "dev", end)
            machine.ip("link", "set", end, "up")

    def switch(self, machines: list[Machine], addresses: list[str]) -> Switch:
        """Connect machines by one local network; `addresses` have their prefix length, and may be IPv6."""
        itself = self.machine("switch")
        for bridge in ("br0", "br1"):
            itself.ip("link", "add", bridge, "type", "bridge")
            itself.ip("link", "set", bridge, "up")
        for number, (machine, address) in enumerate(zip(machines, addresses, strict=True)):
            port = f"p{number}"
            _ip("link", "add", port, "netns", itself.name, "type", "veth", "peer", "eth0", "netns", machine.name)
            # No duplicate address detection: it takes a second, and nobody else has these.
            machine.ip("address", "add", address, "dev", "eth0", *(("nodad",) if ":" in address else ()))
            machine.ip("link", "set", "eth0", "up")
            itself.ip("link", "set", port, "master", "br0")
            itself.ip("link", "set", port, "up")
        return Switch(itself, machines)

    def close(self) -> None:
        for name in self._names:
            subprocess.run(("ip", "netns", "delete", name), capture_output=True, check=False)
        self._names.clear()


def _ip(*arguments: str) -> None:
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoNamespaces(f"`ip {' '.join(arguments)}` does not work here: {done.stderr.strip()}")


def _exists(machine: Machine, device: str) -> bool:
    command = ("ip", "-n", machine.name, "link", "show", device)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
