"""How warm the machine is, and what it draws, for Prometheus."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ...power import HostSensors, MeterError, PowerMeter, PowerReading, open_meter

#: A reading serves whoever asks within so many seconds; some meters take milliseconds.
_FRESH_S = 1.0


class DeviceCollector(Collector):
    """The readings of one meter.

    Threads: safe from any thread.
    """

    def __init__(self, meter: PowerMeter | None = None) -> None:
        """
        Args:
            meter: meter to ask, closed by `close`; when None, the best that this machine has, looked for at the first
                question.
        """
        self._lock = threading.Lock()
        self._meter = meter
        self._read_s = float("-inf")
        self._reading: PowerReading | None = None
        self._closed = False

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            reading, rail = self._fresh(), "" if self._meter is None else self._meter.scope
        if reading is None:
            return
        watts = GaugeMetricFamily("sparsevit_device_power_watts", "Power drawn now.", labels=["rail"])
        if reading.watts is not None:
            watts.add_metric([rail], reading.watts)
        joules = CounterMetricFamily("sparsevit_device_energy_joules", "Energy drawn.", labels=["rail"])
        if reading.joules is not None:
            joules.add_metric([rail], reading.joules)
        degrees = GaugeMetricFamily("sparsevit_device_temperature_celsius", "Temperatures.", labels=["zone"])
        for zone, value in reading.temperatures_c.items():
            degrees.add_metric([zone], value)
        throttled = GaugeMetricFamily("sparsevit_device_throttled", "Whether something holds the clocks back.")
        throttled.add_metric([], float(reading.throttled is not None))
        yield from (watts, joules, degrees, throttled)

    def close(self) -> None:
        """Gives the meter back. Safe to repeat."""
        with self._lock:
            self._closed, self._reading = True, None
            if self._meter is not None:
                self._meter.close()

    def _fresh(self) -> PowerReading | None:
        if self._closed or time.monotonic() - self._read_s < _FRESH_S:
            return self._reading
        if self._meter is None:
            self._meter = open_meter() or HostSensors()
        try:
            self._reading = self._meter.read()
        except MeterError:
            self._reading = None  # it is gone, as a GPU that fell off the bus
        self._read_s = time.monotonic()
        return self._reading
