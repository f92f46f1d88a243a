# A year of sun on some solar modules: how many watt hours each of them gives. A kernel in Python.
#
# In:  JSON, {"conditions": [[W/m2, cell temperature, hours], …], "modules": [[its parameters], …]}
# Out: JSON, the watt hours of each module.
#
# The single-diode model of De Soto, as the California Energy Commission uses it, at its point of greatest power.

import json
from math import exp, expm1, log1p

BOLTZMANN = 8.617332478e-05  # eV/K
REFERENCE_K = 298.15
GAP, GAP_SLOPE = 1.121, -0.0002677  # eV of silicon, and its part per kelvin
ROUNDS_MAX = 60


def main(data: bytes) -> list[float]:
    task = json.loads(data)
    return [year(module, task["conditions"]) for module in task["modules"]]


def year(module: list[float], conditions: list[list[float]]) -> float:
    return sum(power(module, light, celsius) * hours for light, celsius, hours in conditions)


def power(module: list[float], light: float, celsius: float) -> float:
    """The greatest power in watts."""
    alpha, a_reference, light_current, dark_current, series, shunt, adjust = module
    kelvin = celsius + 273.15
    warmer = kelvin - REFERENCE_K
    gap = GAP * (1 + GAP_SLOPE * warmer)
    a = a_reference * kelvin / REFERENCE_K
    generated = light / 1000 * (light_current + alpha * (1 - adjust / 100) * warmer)
    leaks = shunt * 1000 / light
    saturation = GAP / (BOLTZMANN * REFERENCE_K) - gap / (BOLTZMANN * kelvin)
    dark = dark_current * (kelvin / REFERENCE_K) ** 3 * exp(saturation)
    # Newton's method on the slope of the power over the diode's voltage, from the open circuit down.
    voltage = a * log1p(generated / dark)
    for _ in range(ROUNDS_MAX):
        grown = dark / a * exp(voltage / a)
        current = generated - dark * expm1(voltage / a) - voltage / leaks
        slope, bend = -grown - 1 / leaks, -grown / a
        outside, outside_slope, outside_bend = voltage - current * series, 1 - slope * series, -bend * series
        first = outside_slope * current + outside * slope
        second = outside_bend * current + 2 * outside_slope * slope + outside * bend
        step = first / second
        voltage -= step
        if abs(step) < 1e-10 * a:
            break
    current = generated - dark * expm1(voltage / a) - voltage / leaks
    return current * (voltage - current * series)
