import time

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import sensor_trees
from sparsevit_runtime.power import MeterError, PowerReading, open_meter
from sparsevit_runtime.sinks.web import device
from sparsevit_runtime.sinks.web.device import DeviceCollector


def scraped(collector):
    registry = CollectorRegistry()
    registry.register(collector)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(sample.name, *sample.labels.values()): sample.value for each in families for sample in each.samples}


def test_a_jetson_tells_its_power_and_temperatures(tmp_path):
    meter = open_meter(
        sensor_trees.write(tmp_path, sensor_trees.board() | sensor_trees.ina3221(1, {1: ("VDD_IN", 5000, 2400)}))
    )
    collector = DeviceCollector(meter)
    found = scraped(collector)
    assert found["sparsevit_device_power_watts", "VDD_IN"] == 12.0
    temperatures = {key[1]: value for key, value in found.items() if key[0] == "sparsevit_device_temperature_celsius"}
    assert temperatures == meter.read().temperatures_c and temperatures
    assert found["sparsevit_device_throttled",] in (0.0, 1.0)
    collector.close()
    collector.close()
    assert scraped(collector) == {}


class Counting:
    """A meter that counts its readings, until it is gone."""

    name, scope = "counting", "box"

    def __init__(self):
        self.asked, self.gone = 0, False

    def read(self):
        if self.gone:
            raise MeterError("it is gone")
        self.asked += 1
        return PowerReading(joules=10.0 * self.asked, throttled="thermal")

    def close(self):
        self.gone = True


def test_a_reading_serves_for_a_while_and_a_meter_that_is_gone_tells_nothing(monkeypatch):
    meter = Counting()
    collector = DeviceCollector(meter)
    for _ in range(3):
        assert scraped(collector)["sparsevit_device_energy_joules_total", "box"] == 10.0
    assert meter.asked == 1
    monkeypatch.setattr(device, "_FRESH_S", 0.0)
    found = scraped(collector)
    assert found["sparsevit_device_energy_joules_total", "box"] > 10.0 and found["sparsevit_device_throttled",] == 1
    meter.gone = True
    assert scraped(collector) == {}


def test_any_machine_is_asked():
    collector = DeviceCollector()
    begun = time.monotonic()
    scraped(collector)
    assert time.monotonic() - begun < 5
    collector.close()
