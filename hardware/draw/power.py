"""The power budget: who draws how much, how long that lasts, and what is left of 5 V when everything sounds at once."""

from __future__ import annotations

import csv
import subprocess
import tomllib
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

BUILDS = ("starter", "outdoor")
STATES = ("off", "standing", "walking", "warning", "peak")
LINE_V = 5.0
COLOURS = {
    "pi-zero-2w": "#355c7d",
    "tf-luna": "#c06c84",
    "max98357a": "#f2a65a",
    "vibration-motor": "#7a9e7e",
    "buzzer": "#b0413e",
    "": "#9a9a9a",
}


def sources(hardware: Path) -> list[Path]:
    """The figures and the quantities."""
    return [hardware / "power" / "power.toml", hardware / "bom.csv"]


@dataclass(frozen=True)
class Load:
    """One consumer, in milliamperes at the 5 V line, of a single piece."""

    part: str
    name: str
    ma: dict[str, float]
    source: str


@dataclass(frozen=True)
class Budget:
    """Everything that the table is worked out from."""

    data: dict[str, Any]
    loads: tuple[Load, ...]
    quantity: dict[str, dict[str, int]]
    """Of each part, by build."""

    def of(self, build: str) -> list[tuple[Load, int]]:
        """The consumers of a build, and how many there are."""
        return [(load, n) for load in self.loads if (n := self.quantity[build].get(load.part, 0))]

    def ma(self, build: str, state: str) -> float:
        """What the whole build draws from the 5 V line."""
        return sum(n * load.ma[state] for load, n in self.of(build))

    def walk_ma(self, build: str) -> float:
        """Mean of a walk, its warnings included."""
        share = float(self.data["use"]["warning_share"])
        return (1.0 - share) * self.ma(build, "walking") + share * self.ma(build, "warning")

    def supply(self, build: str) -> dict[str, Any]:
        return dict(self.data["supply"][build])

    def path(self, build: str) -> list[tuple[str, float, str]]:
        """What lies between the converter and the Pi, in ohms."""
        return [(step["what"], self._ohm(step), step["source"]) for step in self.supply(build)["path"]]

    def _ohm(self, step: dict[str, Any]) -> float:
        if "ohm" in step:
            return float(step["ohm"])
        return 2.0 * float(step["length_m"]) * float(self.data["wire_ohm_per_m"][step["wire"]])

    def line_v(self, build: str, ma: float) -> float:
        """Voltage at the Pi's 5 V pins when so much is drawn."""
        supply = self.supply(build)
        ohm = float(supply["output_ohm"]) + sum(ohm for _, ohm, _ in self.path(build))
        return float(supply["output_v"]) - ma / 1000.0 * ohm

    def alarm_v(self) -> float:
        """Highest voltage at which some Pi may raise its alarm."""
        limits = self.data["limits"]
        return float(limits["pi_undervoltage_v"]) + float(limits["pi_undervoltage_tolerance_v"])

    def branches(self, build: str) -> list[tuple[str, float, float, str]]:
        """Part, voltage at it in the worst moment, the least it needs, and who says so."""
        at_v = self.line_v(build, self.ma(build, "peak"))
        rows = []
        for branch in self.data["branch"]:
            if self.quantity[build].get(branch["part"], 0):
                ohm = self._ohm(branch) + float(branch["contacts_ohm"])
                ma = max(load.ma["peak"] for load in self.loads if load.part == branch["part"])
                left_v = at_v - float(branch["drop_v"]) - ma / 1000.0 * ohm
                rows.append((branch["part"], left_v, float(branch["min_v"]), branch["source"]))
        return rows

    def line_wh(self, build: str, celsius: str = "20", aged: bool = False) -> float:
        """Energy that one charge brings to the 5 V line."""
        supply = self.supply(build)
        full_wh = float(supply["capacity_mah"]) / 1000.0 * float(supply["cell_v"])
        share = float(supply["usable_share"]) * float(self.data["cold"][celsius])
        age = float(self.data["use"]["aged_share"]) if aged else 1.0
        return full_wh * share * age * float(supply["efficiency"])

    def hours(self, build: str, celsius: str = "20", aged: bool = False) -> float:
        """Walking without a break."""
        return self.line_wh(build, celsius, aged) / (LINE_V * self.walk_ma(build) / 1000.0)

    def days(self, build: str, celsius: str = "20", aged: bool = False) -> float:
        """Days of one charge, walking as `use` says; the switch is off otherwise."""
        use = self.data["use"]
        walk_h = float(use["walk_minutes_a_day"]) / 60.0
        rest_h = float(use["on_minutes_a_day"]) / 60.0 - walk_h
        wh = LINE_V / 1000.0 * (walk_h * self.walk_ma(build) + rest_h * self.ma(build, "standing"))
        return self.line_wh(build, celsius, aged) / wh

    def cell(self, build: str, ohm: float) -> tuple[float, float]:
        """Volts and amperes of the cell in the worst moment with 10 % left; 0 V if it cannot give so much.

        The converter takes what power it needs: the lower the voltage falls, the more current, V (V0 - V) / R = P.
        """
        supply = self.supply(build)
        watts = self.ma(build, "peak") / 1000.0 * LINE_V / float(supply["efficiency"])
        rest_v = float(supply["cell_low_v"])
        under_root = rest_v**2 - 4.0 * ohm * watts
        if under_root < 0.0:
            return 0.0, 0.0
        volts = (rest_v + under_root**0.5) / 2.0
        return volts, watts / volts

    def heat_k(self, build: str) -> float:
        """How much warmer than the air the case gets on a walk, everything that is drawn becoming heat in it."""
        supply, heat = self.supply(build), self.data["heat"]
        watts = LINE_V * self.walk_ma(build) / 1000.0
        if supply["part"] == "charger-boost":
            watts /= float(supply["efficiency"])
        return watts / (float(heat["surface_m2"]) * float(heat["w_m2_k"]))


def sound_ma(sound: dict[str, float], gain_db: float) -> tuple[float, float]:
    """What the amplifier draws for a tone at full scale: in the mean, and at the tone's crest.  Above 5 V it clips."""
    crest_v = min(LINE_V, 2.0**0.5 * 10.0 ** ((sound["full_scale_dbv"] + gain_db) / 20.0))
    crest_ma = crest_v**2 / sound["speaker_ohm"] / sound["efficiency"] / LINE_V * 1000.0
    return crest_ma / 2.0, crest_ma


def worked_out(data: dict[str, Any], parts: list[dict[str, str]]) -> Budget:
    """The budget of these figures and these rows of bom.csv."""
    sound = data["sound"]
    mean_ma, crest_ma = sound_ma(sound, sound["gain_db"])
    loads = []
    for entry in data["load"]:
        ma = {state: float(entry[state]) for state in STATES if state in entry}
        if entry["part"] == "max98357a":
            ma["warning"] = ma["standing"] + sound["sounding_share"] * mean_ma
            ma["peak"] = ma["standing"] + crest_ma
        loads.append(Load(entry["part"], entry["name"], ma, entry["source"]))
    quantity = {build: {row["id"]: int(row[f"{build}_qty"]) for row in parts} for build in BUILDS}
    return Budget(data, tuple(loads), quantity)


def read(hardware: Path) -> Budget:
    """The budget of this folder."""
    with (hardware / "bom.csv").open(encoding="utf-8", newline="") as file:
        parts = list(csv.DictReader(file))
    return worked_out(tomllib.loads((hardware / "power" / "power.toml").read_text("utf-8")), parts)


# ----------------------------------------------------------------------------------------------------------- tables


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _part_rows(budget: Budget, build: str) -> list[list[str]]:
    rows = [
        [load.name, str(n), *(f"{n * load.ma[state]:.0f}" for state in STATES), load.source]
        for load, n in budget.of(build)
    ]
    return [*rows, ["**together**", "", *(f"**{budget.ma(build, state):.0f}**" for state in STATES), ""]]


def _life_rows(budget: Budget) -> list[list[str]]:
    return [
        [
            build,
            f"{celsius} °C",
            "aged" if aged else "new",
            f"{budget.hours(build, celsius, aged):.1f} h",
            f"{budget.days(build, celsius, aged):.0f}",
            f"{60.0 * 0.1 * budget.hours(build, celsius, aged):.0f} min",
        ]
        for build in BUILDS
        for celsius in budget.data["cold"]
        for aged in (False, True)
    ]


def _line_rows(budget: Budget) -> list[list[str]]:
    rows = []
    for build in BUILDS:
        for state in STATES[1:]:
            ma = budget.ma(build, state)
            volts = budget.line_v(build, ma)
            rows.append(
                [
                    build,
                    state,
                    f"{ma / 1000.0:.2f} A",
                    f"{volts:.2f} V",
                    f"{volts - budget.data['limits']['pi_undervoltage_v']:+.2f} V",
                    f"{volts - budget.alarm_v():+.2f} V",
                ]
            )
    return rows


def _text(words: str) -> list[str]:
    """A paragraph, written here over several lines."""
    return [" ".join(words.split()), ""]


def _short(budget: Budget) -> list[str]:
    out = ["**In short**", ""]
    days = budget.data["use"]["walk_minutes_a_day"]
    alarm_v = budget.data["limits"]["pi_undervoltage_v"]
    for build in BUILDS:
        supply, peak_ma = budget.supply(build), budget.ma(build, "peak")
        out += _text(
            f"""- **{build}**: {budget.walk_ma(build):.0f} mA on a walk, {peak_ma / 1000.0:.2f} A in the worst moment
            (rated: {supply["rated_a"]:g} A). One charge of {supply["capacity_mah"]:g} mAh lasts
            {budget.hours(build):.1f} h without a break, or {budget.days(build):.0f} days of {days} minutes. In the
            worst
            moment the Pi has {budget.line_v(build, peak_ma):.2f} V; its alarm comes at {alarm_v:.2f} V."""
        )[:1]
    ma = {build: budget.ma(build, "off") for build in BUILDS}
    empty_h = {build: budget.line_wh(build) / (LINE_V * ma[build] / 1000.0) for build in BUILDS}
    return out + _text(
        f"""- Use the power switch. After the button has switched it off, lidars and halted Pi still draw
        {ma["starter"]:.0f} mA (starter) or {ma["outdoor"]:.0f} mA (outdoor): in {empty_h["starter"]:.0f} or
        {empty_h["outdoor"]:.0f} hours what was full is empty."""
    )


def _draws(budget: Budget) -> list[str]:
    head = ["part", "pieces", "off by button", "standing", "walking", "warning", "peak", "source"]
    out: list[str] = []
    for build in BUILDS:
        out += [f"## What the {build} build draws", "", "Milliamperes at the 5 V line, of all pieces.", ""]
        out += _table(head, _part_rows(budget, build))
    rows = [
        [load.name, *(f"{load.ma[state]:.0f}" for state in STATES), load.source]
        for load in budget.loads
        if not any(budget.quantity[build].get(load.part, 0) for build in BUILDS)
    ]
    out += ["## What may be fitted instead", "", *_table([head[0], *head[2:]], rows)]
    sound = budget.data["sound"]
    open_mean, open_crest = sound_ma(sound, sound["gain_open_db"])
    mean, crest = sound_ma(sound, sound["gain_db"])
    left_v = {build: budget.line_v(build, budget.ma(build, "peak") + open_crest - crest) for build in BUILDS}
    return out + _text(
        f"""**The amplifier's GAIN pin.** With 100 kΩ from GAIN to VIN ({sound["gain_db"]:g} dB) a tone at full scale
        draws {mean:.0f} mA, and {crest:.0f} mA at its crests; with GAIN left open ({sound["gain_open_db"]:g} dB)
        {open_mean:.0f} and {open_crest:.0f} mA. Left open, the Pi would have {left_v["starter"]:.2f} V (starter) and
        {left_v["outdoor"]:.2f} V (outdoor) in the worst moment. So fit the resistor. 0.8 W into
        {sound["speaker_ohm"]:g}
        ohm is what the limit of 90 dB(A) at the ear leaves room for, see [hazards](../hazards.md)."""
    )


def _lasts(budget: Budget) -> list[str]:
    use, outdoor, starter = budget.data["use"], budget.supply("outdoor"), budget.supply("starter")
    out = ["## How long a charge lasts", ""]
    out += _text(
        f"""Walking {use["walk_minutes_a_day"]} minutes a day, switched on for {use["on_minutes_a_day"]}, off at the
        switch
        otherwise; something sounds {100 * use["warning_share"]:.0f} % of the walk. An aged cell has
        {100 * use["aged_share"]:.0f} % of its capacity. The last column is what is left when the gauge says 10 % and
        retrowalk says to stop walking; a power bank tells nobody."""
    )
    out += _table(["build", "cell at", "cell", "without a break", "days of 30 minutes", "at 10 %"], _life_rows(budget))
    charge_h = outdoor["capacity_mah"] / 1000.0 / outdoor["charge_a"] * outdoor["charge_share"]
    input_a = outdoor["charge_a"] * outdoor["cell_v"] / outdoor["efficiency"] / LINE_V
    out += _text(
        f"""**Charging.** The outdoor cell takes {charge_h:.1f} hours at {outdoor["charge_a"]:g} A, and {input_a:.2f} A
        from the charger's socket; {input_a + budget.ma("outdoor", "standing") / 1000.0:.2f} A if the device is on
        meanwhile. Charge it taken off, switched off, between 5 and 40 °C. The starter's bank is charged by itself."""
    )
    new_v, new_a = budget.cell("outdoor", outdoor["cell_ohm"])
    cold_v, cold_a = budget.cell("outdoor", outdoor["cell_ohm_cold"])
    out += _text(
        f"""**Out of the cell** the worst moment takes {new_a:.1f} A when 10 % is left and retrowalk says to stop,
        cold or
        old {cold_a:.1f} A (bom.csv asks for a cell of 3 A or more). It then has {new_v:.2f} V, cold or old
        {cold_v:.2f} V;
        the converter gives up at {outdoor["cell_stop_v"]:g} V. A cell of which little is printed may have twice the
        resistance, and then ends at a warning in the cold: try it in the fridge."""
    )
    standing = budget.ma("starter", "standing")
    return out + _text(
        f"""**A bank that switches off.** Standing still the starter draws {standing:.0f} mA; banks take less than about
        {starter["off_below_ma"]} mA for nothing and switch off. That is {standing / starter["off_below_ma"]:.1f}
        times as
        much."""
    )


def _left(budget: Budget) -> list[str]:
    limits = budget.data["limits"]
    out = ["## What is left of 5 V", "", "From the converter to the 5 V pins of the Pi:", ""]
    for build in BUILDS:
        supply, path = budget.supply(build), budget.path(build)
        rows = [["the converter itself", f"{1000 * supply['output_ohm']:.0f}", "[A]"]]
        rows += [[what, f"{1000 * ohm:.0f}", source] for what, ohm, source in path]
        whole = supply["output_ohm"] + sum(ohm for _, ohm, _ in path)
        rows.append(["**together**", f"**{1000 * whole:.0f}**", ""])
        out += _table([f"{build}: {supply['output_v']:.2f} V, less the drop at", "milliohm", "source"], rows)
    out += _text(
        f"""The Pi's alarm (“Power too weak, go home.”, [docs/faults.md](../../docs/faults.md)) comes at
        {limits["pi_undervoltage_v"]:.2f} V, of some pieces at {budget.alarm_v():.2f} V. At least
        {limits["margin_min_v"]:.2f} V must be left above both."""
    )
    head = ["build", "state", "drawn", "at the Pi", "above the alarm", "above the earliest alarm"]
    out += [*_table(head, _line_rows(budget)), "In the worst moment, at the end of the sensors' own leads:", ""]
    rows = [
        [build, part, f"{left_v:.2f} V", f"{min_v:.2f} V", f"{left_v - min_v:+.2f} V", source]
        for build in BUILDS
        for part, left_v, min_v, source in budget.branches(build)
    ]
    out += _table(["build", "part", "has", "needs", "margin", "source"], rows)
    peak_ma = budget.ma("starter", "peak")
    shunt = next(ohm for what, ohm, _ in budget.path("starter") if "INA219" in what)
    return out + _text(
        f"""Of the {budget.line_v("starter", 0) - budget.line_v("starter", peak_ma):.2f} V that the starter loses,
        {shunt * peak_ma / 1000.0:.2f} V stay in the INA219. If the Pi's alarm comes all the same: another lead first
        (short and thick), then another bank, then leave the INA219 out. If your TF-Luna's sheet asks for 4.9 V or more,
        measure at its plug while it warns."""
    )


def _warmth(budget: Budget) -> list[str]:
    heat, limits = budget.data["heat"], budget.data["limits"]
    out = ["## Warmth", ""]
    out += _text(
        f"""All of it becomes heat in the case. In still shade its outside gets warmer than the air by
        {budget.heat_k("starter"):.0f} K (starter) and {budget.heat_k("outdoor"):.0f} K (outdoor), computed for a
        surface of
        {10000 * heat["surface_m2"]:.0f} cm²; the sun on a dark case adds 15 K and more [A]."""
    )
    rows = [[f"{air} °C", *(f"{air + budget.heat_k(build):.0f} °C" for build in BUILDS)] for air in heat["air_c"]]
    out += _table(["air", *BUILDS], rows)
    return out + _text(
        f"""Skin that is touched for hours must stay below {limits["skin_c"]:.0f} °C (ISO 13732-1 [U]): wear the case
        over
        clothing, print it in a light colour."""
    )


def markdown(budget: Budget) -> str:
    """power.md."""
    out = ["# Power budget", ""]
    out += _text(
        """Made by `script/drawings power` from [power.toml](power.toml) and [bom.csv](../bom.csv); change those.
        Nothing
        here was measured by this project. The source of each figure stands beside it; [A] is assumed, [U] is a
        datasheet
        figure as it is commonly quoted. A USB power meter tells yours in a minute."""
    )
    out += ["![What each part draws, standing, walking, warning, and in the worst moment](current.png)", ""]
    for part in (_short, _draws, _lasts, _left, _warmth):
        out += part(budget)
    return "\n".join(out)


# ---------------------------------------------------------------------------------------------------------- picture


def svg(budget: Budget) -> str:
    """Stacked bars: what each part draws in each state, both builds on one scale."""
    shown = ("standing", "walking", "warning", "peak")
    words = {
        "standing": "standing",
        "walking": "walking",
        "warning": "warning, mean",
        "peak": "worst moment",
    }
    width, left, top, bar_h, gap, group = 1000, 190, 70, 30, 10, 46
    most = max(budget.ma(build, "peak") for build in BUILDS)
    scale_ma = 250.0 * -(-most // 250.0)
    pixel = (width - left - 110) / scale_ma
    bottom = top + len(BUILDS) * (len(shown) * (bar_h + gap) + group)
    height = bottom + 92
    text = 'font-family="DejaVu Sans, sans-serif" fill="#222"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="20" y="34" font-size="20" font-weight="bold" {text}>Milliamperes from the 5 V line</text>',
    ]
    step = 250
    for ma in range(0, int(scale_ma) + 1, step):
        x = left + ma * pixel
        out.append(f'<line x1="{x:.1f}" y1="{top - 12}" x2="{x:.1f}" y2="{bottom - 18}" stroke="#ddd"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom}" font-size="13" text-anchor="middle" {text}>{ma}</text>')
    y = top
    for build in BUILDS:
        out.append(f'<text x="20" y="{y + 14}" font-size="17" font-weight="bold" {text}>{build}</text>')
        y += 24
        for state in shown:
            out.append(
                f'<text x="{left - 10}" y="{y + 20}" font-size="15" text-anchor="end" {text}>{words[state]}</text>'
            )
            x = float(left)
            for key, colour in COLOURS.items():
                drawn = sum(
                    n * load.ma[state]
                    for load, n in budget.of(build)
                    if (load.part if load.part in COLOURS else "") == key
                )
                if drawn:
                    out.append(
                        f'<rect x="{x:.1f}" y="{y}" width="{drawn * pixel:.1f}" height="{bar_h}" fill="{colour}">'
                        f"<title>{drawn:.0f} mA</title></rect>"
                    )
                x += drawn * pixel
            whole = budget.ma(build, state)
            out.append(f'<text x="{x + 8:.1f}" y="{y + 20}" font-size="15" {text}>{whole:.0f} mA</text>')
            y += bar_h + gap
        y += group - 24
    names = {load.part: load.name for load in reversed(budget.loads)} | {
        "pi-zero-2w": "Raspberry Pi with radio",
        "tf-luna": "lidars",
        "": "all others",
    }
    for index, (key, colour) in enumerate(COLOURS.items()):
        x, line = 40 + index % 3 * 310, bottom + 28 + index // 3 * 28
        out.append(f'<rect x="{x}" y="{line - 13}" width="18" height="16" fill="{colour}"/>')
        out.append(f'<text x="{x + 26}" y="{line}" font-size="15" {text}>{escape(names[key])}</text>')
    return "\n".join([*out, "</svg>", ""])


def render(hardware: Path, into: Path) -> list[Path]:
    """The table and its picture."""
    budget = read(hardware)
    folder = into / "power"
    folder.mkdir(parents=True)
    (folder / "power.md").write_text(markdown(budget), "utf-8")
    (folder / "current.svg").write_text(svg(budget), "utf-8")
    subprocess.run(["rsvg-convert", "-o", folder / "current.png", folder / "current.svg"], check=True)
    return [Path("power/power.md"), Path("power/current.svg"), Path("power/current.png")]
