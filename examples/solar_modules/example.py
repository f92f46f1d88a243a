"""Inputs from the package `pvlib` (BSD-3), and what comes of them: the modules that give most, in a place with weather.

The modules are those of the California Energy Commission as NREL's System Advisor Model has them (BSD-3), the weather
is a typical year of Greensboro, North Carolina (NREL's TMY3, public domain). The kernel is Python; the reference is
pvlib's own model on all modules at once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crowdcompute.creator.build import build

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WATTS_MIN = 340
PER_CHUNK = 25
LIGHT_STEP, CELSIUS_STEP = 50.0, 5.0
TILT, AZIMUTH = 36, 180
PARAMETERS = ("alpha_sc", "a_ref", "I_L_ref", "I_o_ref", "R_s", "R_sh_ref", "Adjust")
SHOWN = 10


def modules() -> Any:
    """The larger modules of the library, a row each."""
    from pvlib.pvsystem import retrieve_sam

    every = retrieve_sam("CECMod").T
    return every[every["STC"].astype(float) >= WATTS_MIN]


def conditions() -> list[list[float]]:
    """The year's hours, those with like light and temperature together: W/m2, cell temperature, hours."""
    from pathlib import Path

    import numpy
    import pvlib

    file = Path(pvlib.__file__).parent / "data" / "723170TYA.CSV"
    weather, place = pvlib.iotools.read_tmy3(file, map_variables=True, coerce_year=2001)
    sun = pvlib.location.Location(place["latitude"], place["longitude"]).get_solarposition(weather.index)
    light = pvlib.irradiance.get_total_irradiance(
        TILT, AZIMUTH, sun.apparent_zenith, sun.azimuth, weather.dni, weather.ghi, weather.dhi
    ).poa_global.fillna(0)
    celsius = pvlib.temperature.faiman(light, weather.temp_air, weather.wind_speed)
    steps = numpy.stack([light // LIGHT_STEP, celsius // CELSIUS_STEP], axis=1)[light > 1]
    found, hours = numpy.unique(steps, axis=0, return_counts=True)
    middle = (found + 0.5) * (LIGHT_STEP, CELSIUS_STEP)
    return [[float(w), float(t), float(h)] for (w, t), h in zip(middle, hours, strict=True)]


def prepare(folder: Path) -> None:
    """Replace the sample by the real inputs, and build the module."""
    for file in (folder / "inputs").iterdir():
        file.unlink()
    parameters = [[float(row[name]) for name in PARAMETERS] for _, row in modules().iterrows()]
    weather = conditions()
    for number, first in enumerate(range(0, len(parameters), PER_CHUNK)):
        chunk = {"conditions": weather, "modules": parameters[first : first + PER_CHUNK]}
        (folder / "inputs" / f"{number:04}").write_text(json.dumps(chunk))
    (folder / "solar_modules.wasm").write_bytes(build(folder / "kernel.py", 0))


def finish(results: Mapping[int, bytes], out: Path) -> list[str]:
    """The table, and how far it is from the reference."""
    table = modules()
    found = [watts for chunk in sorted(results) for watts in json.loads(results[chunk])]
    theirs = reference(table)
    apart = max(abs(ours - other) / other for ours, other in zip(found, theirs, strict=True))
    area = [float(value) for value in table["A_c"]]
    rows = sorted(
        (
            (watts / 1000 / size, watts / 1000, str(name).replace("_", " "), str(kind))
            for watts, size, name, kind in zip(found, area, table.index, table["Technology"], strict=True)
        ),
        reverse=True,
    )
    lines = [f"{'kWh/m2':>8}{'kWh':>8}  of a year in Greensboro, tilted {TILT} degrees to the south"]
    lines += [f"{each:8.1f}{whole:8.1f}  {name} ({kind})" for each, whole, name, kind in rows]
    (out / "solar_modules.txt").write_text("\n".join(lines) + "\n")
    return [
        *lines[: SHOWN + 1],
        f"table      {out / 'solar_modules.txt'}  {len(rows):,} modules, {len(conditions())} kinds of hours",
        f"reference  pvlib's own is at most {apart:.1e} of the value apart",
    ]


def reference(table: Any) -> list[float]:
    """The same by `pvlib`."""
    import numpy
    from pvlib.pvsystem import calcparams_cec, max_power_point

    total = numpy.zeros(len(table))
    column = {name: table[name].astype(float).to_numpy() for name in PARAMETERS}
    for light, celsius, hours in conditions():
        diode = calcparams_cec(light, celsius, **column)
        total += hours * max_power_point(*diode, method="newton")["p_mp"]
    return [float(watts) for watts in total]
