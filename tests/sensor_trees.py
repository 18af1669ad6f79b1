"""File trees as Linux shows them under /sys on boards and machines with power sensors."""

from __future__ import annotations

from pathlib import Path


def write(root: Path, files: dict[str, object]) -> Path:
    for name, value in files.items():
        path = root / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def ina3221(number: int, channels: dict[int, tuple[str, int, int]]) -> dict[str, object]:
    """Channel -> label, millivolts, milliamperes; the chip's own sums beside them."""
    folder = f"class/hwmon/hwmon{number}"
    files = {f"{folder}/name": "ina3221", f"{folder}/in7_label": "sum of shunt voltages", f"{folder}/in7_input": 30}
    for channel, (label, volts, amperes) in channels.items():
        files |= {
            f"{folder}/in{channel}_label": label,
            f"{folder}/in{channel}_input": volts,
            f"{folder}/curr{channel}_input": amperes,
            f"{folder}/curr{channel}_max": 32760,
        }
    return files


def board() -> dict[str, object]:
    """What all Orins share: clocks, temperatures, cooling, over-current events, a fan."""
    thermal, cpu = "class/thermal", "devices/system/cpu/cpufreq"
    return {
        "class/hwmon/hwmon0/name": "pwmfan",
        "class/hwmon/hwmon9/name": "soctherm_oc",
        **{f"class/hwmon/hwmon9/oc{i}_event_cnt": 5 for i in (1, 2, 3)},
        "class/devfreq/17000000.gpu/cur_freq": 918000000,
        "class/devfreq/15340000.vic/cur_freq": 115200000,
        f"{cpu}/policy0/scaling_cur_freq": 1984000,
        f"{cpu}/policy4/scaling_cur_freq": 729600,
        f"{thermal}/thermal_zone0/type": "cpu-thermal",
        f"{thermal}/thermal_zone0/temp": 51250,
        f"{thermal}/thermal_zone1/type": "gpu-thermal",
        f"{thermal}/thermal_zone1/temp": 48500,
        f"{thermal}/thermal_zone2/type": "cv0-thermal",  # switched off: its temperature cannot be read
        f"{thermal}/cooling_device0/type": "pwm-fan",
        f"{thermal}/cooling_device0/cur_state": 3,
        f"{thermal}/cooling_device1/type": "gpu-throttle-alert",
        f"{thermal}/cooling_device1/cur_state": 0,
        f"{thermal}/cooling_device2/type": "cpufreq-cpu0",
        f"{thermal}/cooling_device2/cur_state": 0,
    }


ORIN_NX = ina3221(1, {1: ("VDD_IN", 5000, 2000), 2: ("VDD_CPU_GPU_CV", 5000, 800), 3: ("VDD_SOC", 5000, 400)})
AGX_ORIN = {
    **ina3221(1, {1: ("VDD_GPU_SOC", 20000, 500), 2: ("VDD_CPU_CV", 20000, 100), 3: ("VIN_SYS_5V0", 5000, 1000)}),
    **ina3221(2, {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 5000, 200), 3: ("NC", 0, 0)}),
}
THOR = {
    **ina3221(1, {1: ("VDD_GPU", 19000, 900), 2: ("VDD_CPU_SOC_MSS", 19000, 350), 3: ("VIN_SYS_5V0", 5000, 1200)}),
    "class/hwmon/hwmon2/name": "ina238",
    "class/hwmon/hwmon2/in1_label": "VIN",
    "class/hwmon/hwmon2/power1_input": 42500000,
    "class/hwmon/hwmon2/curr1_input": 2237,
    "class/hwmon/hwmon2/in1_input": 19000,
}


def rapl(package: int, dram: int = 0, range_uj: int = 262143328850) -> dict[str, object]:
    base = "class/powercap"
    return {
        f"{base}/intel-rapl/enabled": 1,
        f"{base}/intel-rapl:0/name": "package-0",
        f"{base}/intel-rapl:0/energy_uj": package,
        f"{base}/intel-rapl:0/max_energy_range_uj": range_uj,
        f"{base}/intel-rapl:0:0/name": "core",
        f"{base}/intel-rapl:0:0/energy_uj": 77,
        f"{base}/intel-rapl:0:1/name": "dram",
        f"{base}/intel-rapl:0:1/energy_uj": dram,
        f"{base}/intel-rapl:0:1/max_energy_range_uj": 65712999613,
        f"{base}/intel-rapl:1/name": "psys",
        f"{base}/intel-rapl:1/energy_uj": 99,
    }
