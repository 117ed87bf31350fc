"""The sketch of the bench: where the device stands, where the targets."""

from __future__ import annotations

from pathlib import Path

FILE = Path("bench/bench.svg")

SKETCH = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 330" font-family="DejaVu Sans, sans-serif" font-size="15">
  <title>The bench: the device on a tripod, the target at 1, 2 and 3 m by tape</title>
  <rect width="880" height="330" fill="#ffffff"/>
  <text x="20" y="28" font-weight="bold">From the side</text>
  <line x1="20" y1="250" x2="560" y2="250" stroke="#333" stroke-width="2"/>
  <path d="M60 250 L80 110 L100 250 M80 110 L80 250" stroke="#333" stroke-width="2" fill="none"/>
  <rect x="62" y="84" width="40" height="26" fill="#d8e4f0" stroke="#333" stroke-width="2"/>
  <text x="20" y="74">device, level</text>
  <path d="M102 97 L540 57 L540 137 Z" fill="#f3e3b3" opacity="0.7"/>
  <line x1="102" y1="97" x2="510" y2="97" stroke="#b07b00" stroke-dasharray="6 5"/>
  <g fill="#7a8a99" stroke="#333">
    <rect x="232" y="50" width="8" height="200" opacity="0.35"/>
    <rect x="368" y="50" width="8" height="200" opacity="0.35"/>
    <rect x="504" y="50" width="8" height="200"/>
  </g>
  <g stroke="#333"><line x1="102" y1="275" x2="102" y2="287"/>
    <line x1="236" y1="275" x2="236" y2="287"/>
    <line x1="372" y1="275" x2="372" y2="287"/>
    <line x1="508" y1="275" x2="508" y2="287"/>
    <line x1="102" y1="281" x2="508" y2="281"/></g>
  <g text-anchor="middle"><text x="102" y="306">0</text>
    <text x="236" y="306">1 m</text>
    <text x="372" y="306">2 m</text>
    <text x="508" y="306">3 m</text></g>
  <text x="250" y="326">tape, from the sensor's face</text>
  <g stroke="#333"><line x1="34" y1="110" x2="34" y2="250"/>
    <line x1="28" y1="110" x2="40" y2="110"/>
    <line x1="28" y1="250" x2="40" y2="250"/></g>
  <text x="8" y="196" transform="rotate(-90 22 196)">1.5 m</text>
  <text x="600" y="28" font-weight="bold">From above</text>
  <rect x="700" y="262" width="40" height="22" fill="#d8e4f0" stroke="#333" stroke-width="2"/>
  <path d="M720 262 L650 62 L790 62 Z" fill="#f3e3b3" opacity="0.7"/>
  <line x1="720" y1="262" x2="720" y2="62" stroke="#b07b00" stroke-dasharray="6 5"/>
  <rect x="670" y="70" width="100" height="8" fill="#7a8a99" stroke="#333"/>
  <text x="720" y="56" text-anchor="middle">board, square to the beam</text>
  <path d="M720 140 A122 122 0 0 1 752 145" fill="none" stroke="#333"/>
  <line x1="720" y1="262" x2="764" y2="100" stroke="#333"/>
  <text x="776" y="150">off_axis_deg</text>
  <text x="600" y="306">free: 2 m to each side, 6 m back</text>
</svg>
"""


def sources(hardware: Path) -> list[Path]:
    """None: it is drawn by hand."""
    return []


def render(hardware: Path, into: Path) -> list[Path]:
    """Writes the sketch."""
    (into / FILE).parent.mkdir(parents=True, exist_ok=True)
    (into / FILE).write_text(SKETCH, encoding="utf-8")
    return [FILE]
