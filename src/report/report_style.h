#pragma once

#include "base/rooms.h"

namespace triptych::report::internal {

/// The report's style sheet: light and dark by the reader's preference; one column on a narrow screen.
inline constexpr const char* kReportStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --ink: #1c1b19; --muted: #6d6a63; --rule: #e4e1da;
  --accent: #2f5fd0; --pale: #b9c9f1; --good: #1b7f4d; --good-wash: #e3f3ea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16171a; --card: #1e2024; --ink: #ecebe8; --muted: #9b9890; --rule: #33363c;
    --accent: #86a8ff; --pale: #3c4c78; --good: #66cf97; --good-wash: #1f3a2c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 66rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 0.9rem; }
h3 { font-size: 0.95rem; margin: 1.75rem 0 0.7rem; color: var(--muted); font-weight: 600; }
p { margin: 0.6rem 0 0; max-width: 46rem; }
.muted, .note { color: var(--muted); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.75rem; margin-top: 1.5rem; }
.tile, .curve, .query { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.tile { padding: 0.8rem 1rem; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: 0.85rem; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 0.75rem; }
.curve { margin: 0; padding: 0.8rem 0.9rem 0.5rem; }
.curve figcaption { display: flex; justify-content: space-between; gap: 1rem; font-weight: 600; font-size: 0.95rem; }
.curve .note { font-weight: 400; font-size: 0.85rem; }
.curve svg { display: block; width: 100%; height: auto; }
.curve text { font: 11px system-ui, sans-serif; fill: var(--muted); font-variant-numeric: tabular-nums; }
.curve .y, .curve .name { text-anchor: end; }
.curve .x { text-anchor: middle; }
.curve path { fill: none; }
.curve .grid { stroke: var(--rule); }
.curve .axis, .curve .tick { stroke: var(--muted); }
.curve .line { stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.curve .pale { stroke: var(--pale); stroke-width: 1; stroke-linejoin: round; }
.curve .dot { fill: var(--accent); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.7rem; text-align: left; vertical-align: top; font-weight: 400; }
thead th { color: var(--muted); font-size: 0.85rem; border-bottom: 1px solid var(--rule); }
.results tbody { border-bottom: 1px solid var(--rule); }
.results tbody tr:first-child > * { padding-top: 0.75rem; }
.results tbody tr:last-child > * { padding-bottom: 0.75rem; }
.results .what { min-width: 10rem; }
.results .what b, .results .what span { display: block; }
.results .what span { color: var(--muted); font-size: 0.85rem; }
.results td { min-width: 6.5rem; width: 18%; }
.results tbody th[scope="row"] { min-width: 9rem; }
.results .model > *, .results .what b { font-weight: 650; }
.results .model .what { font-weight: 400; }
.results .other { color: var(--muted); }
.value { display: block; padding-bottom: 5px;
  background: linear-gradient(var(--accent), var(--accent)) no-repeat 0 100% / 0 4px; }
.other .value { background-image: linear-gradient(var(--pale), var(--pale)); }
.change { color: var(--muted); font-weight: 400; font-size: 0.85em; white-space: nowrap; }
.confusion { width: auto; }
.confusion th, .confusion td { padding: 0.3rem 0.45rem; white-space: nowrap; vertical-align: bottom; }
.confusion thead th + th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
.confusion tbody th { color: var(--muted); }
.confusion td { min-width: 2.6rem; text-align: right; border: 1px solid var(--rule); }
.confusion .same { background: color-mix(in srgb, var(--good) calc(var(--share) * 0.45), transparent); }
.confusion .mixed { background: color-mix(in srgb, var(--accent) calc(var(--share) * 0.6), transparent); }
.confused { width: auto; }
.facts { width: auto; min-width: min(100%, 30rem); }
.facts th { color: var(--muted); white-space: nowrap; padding-left: 0; }
.facts td { overflow-wrap: anywhere; }
.query { padding: 0.9rem 1rem; }
.texts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0.75rem; }
.query .ask { font-weight: 600; margin: 0 0 0.7rem; max-height: 8rem; overflow: auto; overflow-wrap: anywhere; }
.hits { display: grid; grid-template-columns: repeat(auto-fill, minmax(max(3rem, 17%), 1fr)); gap: 0.6rem 2%; list-style: none;
  margin: 0; padding: 0; }
.hits figure { margin: 0; }
.hits img, .asked { display: block; width: 100%; max-width: 9rem; aspect-ratio: 1; object-fit: contain; background: #fff;
  border: 1px solid var(--rule); border-radius: 8px; padding: 4px; }
.hits .right img { border-color: var(--good); box-shadow: 0 0 0 2px var(--good); }
.hits figcaption { font-size: 0.8rem; color: var(--muted); margin-top: 0.25rem; font-variant-numeric: tabular-nums; }
.right figcaption, .right .score { color: var(--good); font-weight: 650; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 0.75rem; }
.pictures .query { display: grid; grid-template-columns: 6rem minmax(0, 1fr); gap: 1rem; }
.captions { list-style: none; margin: 0; padding: 0; font-size: 0.93rem; }
.captions li { display: flex; gap: 0.6rem; justify-content: space-between; padding: 0.18rem 0.5rem; border-radius: 6px; }
.captions .right { background: var(--good-wash); }
.captions bdi { overflow-wrap: anywhere; max-height: 7.5em; overflow: auto; min-width: 0; }
.score { color: var(--muted); font-variant-numeric: tabular-nums; white-space: nowrap; }
.truth { font-size: 0.85rem; color: var(--muted); margin: 0.4rem 0.5rem 0; overflow-wrap: anywhere; max-height: 6rem;
  overflow: auto; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(4.8rem, 1fr)); gap: 0.6rem; list-style: none;
  margin: 0.7rem 0 0; padding: 0; }
.maps figure { margin: 0; max-width: 7rem; }
.maps img { display: block; width: 100%; border-radius: 6px; }
.maps figcaption { font-size: 0.8rem; color: var(--muted); margin-top: 0.2rem; overflow-wrap: anywhere;
  max-height: 4.5em; overflow: hidden; }
.scenes { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); gap: 0.75rem; }
.drawn { position: relative; margin: 0 0 0.6rem; }
.drawn img { display: block; width: 100%; height: auto; border-radius: 6px; }
.drawn svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.drawn rect { fill: none; stroke: #d0342c; stroke-width: 2; vector-effect: non-scaling-stroke; }
.drawn .right { stroke: #1fbf6b; }
.drawn .true { stroke: #ffffff; stroke-width: 3; stroke-dasharray: 5 4; }
details { margin-top: 2.75rem; }
summary { cursor: pointer; font-size: 1.2rem; font-weight: 700; }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 1rem; overflow-x: auto;
  font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
@media (max-width: 40rem) {
  body { padding-top: 1.5rem; }
  th, td { padding: 0.35rem 0.45rem; }
  .results td { min-width: 4.4rem; }
  .results .what { min-width: 7.5rem; }
  .results tbody th[scope="row"] { min-width: 6.5rem; }
}
@media print { details > pre { white-space: pre-wrap; } }
)css";

}  // namespace triptych::report::internal
