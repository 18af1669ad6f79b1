"""What the machine draws, and what holds it back: power, energy, clocks, temperatures, throttling."""

from .find import open_meter
from .reading import MeterError, PowerMeter, PowerReading
from .sampler import Energy, EnergySampler
from .sysfs import HostSensors

__all__ = ["Energy", "EnergySampler", "HostSensors", "MeterError", "PowerMeter", "PowerReading", "open_meter"]
