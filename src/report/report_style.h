#pragma once

#include "base/rooms.h"

namespace triptych::report::internal {

/// The report's style sheet: light and dark by the reader's preference; one column on a narrow screen.
inline constexpr const char* kReportStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --ink: #1c1b19; --muted: #6d6a63; --rule: #e4e1da;
  --accent: #2f5fd0; --pale: #b9c9f1; --good: #1b7f4d; --good-wash: #e3f3ea; --bad: #b3261e; --busy: #8a5a00;
  --c0: #2f5fd0; --c1: #c2571a; --c2: #1b7f4d; --c3: #8b3fa8; --c4: #a67c00; --c5: #b0305c; --c6: #12808c; --c7: #5f5b54;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16171a; --card: #1e2024; --ink: #ecebe8; --muted: #9b9890; --rule: #33363c;
    --accent: #86a8ff; --pale: #3c4c78; --good: #66cf97; --good-wash: #1f3a2c; --bad: #ff8a80; --busy: #e8b64c;
    --c0: #86a8ff; --c1: #f5985b; --c2: #66cf97; --c3: #cf93e6; --c4: #e0bd4f; --c5: #f285a9; --c6: #5fcbd6; --c7: #b3afa6;
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
.curve { margin: 0; padding: 0.8rem 0.9rem 0.5rem; display: flex; flex-direction: column; }
.curve figcaption { display: flex; justify-content: space-between; gap: 1rem; font-weight: 600; font-size: 0.95rem; }
.curve .note { font-weight: 400; font-size: 0.85rem; }
.curve > svg { display: block; width: 100%; height: auto; margin-top: auto; }
.curve text { font: 11px system-ui, sans-serif; fill: var(--muted); font-variant-numeric: tabular-nums; }
.curve .y, .curve .name { text-anchor: end; }
.curve .x { text-anchor: middle; }
.curve path { fill: none; }
.curve .grid { stroke: var(--rule); }
.curve .axis, .curve .tick { stroke: var(--muted); }
.curve .line { stroke: var(--c); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.curve .pale { stroke: color-mix(in srgb, var(--c) 32%, var(--card)); stroke-width: 1; stroke-linejoin: round; }
.curve .dot { fill: var(--c); }
.curve .thin { stroke: var(--c); stroke-width: 1; }
.curve .ring { fill: var(--card); stroke: var(--c); }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); }
.c4 { --c: var(--c4); } .c5 { --c: var(--c5); } .c6 { --c: var(--c6); } .c7 { --c: var(--c7); }
.curve .line.c1, .curve .line.c5 { stroke-dasharray: 7 4; }
.curve .line.c2, .curve .line.c6 { stroke-dasharray: 2 4; }
.curve .line.c3, .curve .line.c7 { stroke-dasharray: 10 3 2 3; }
.legend { display: flex; flex-wrap: wrap; gap: 0.1rem 1rem; list-style: none; margin: 0.15rem 0 0.2rem; padding: 0;
  font-size: 0.85rem; color: var(--muted); }
.legend b { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
.legend li { overflow-wrap: anywhere; }
.legend li::before, .run::before { content: ""; display: inline-block; width: 0.9rem; height: 3px; margin-right: 0.4rem;
  border-radius: 2px; background: var(--c); vertical-align: 0.25em; }
.state { margin: 0.7rem 0 0; color: var(--muted); }
.state b { display: inline-block; margin-right: 0.4rem; padding: 0.05rem 0.6rem; border-radius: 99px; font-size: 0.85rem;
  color: var(--tone); border: 1px solid var(--tone); }
.state.finished { --tone: var(--good); } .state.running { --tone: var(--accent); }
.state.stopped { --tone: var(--busy); } .state.failed { --tone: var(--bad); }
.message { color: var(--muted); }
.meanings { margin: 1rem 0 0; max-width: 46rem; font-size: 0.9rem; }
.meanings div { margin-top: 0.3rem; }
.meanings dt { display: inline; font-weight: 600; }
.meanings dt::after { content: ": "; }
.meanings dd { display: inline; margin: 0; color: var(--muted); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin-top: 0.6rem; }
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
.ranks th, .ranks td { white-space: nowrap; }
.bar-cell { min-width: 9rem; vertical-align: middle; }
.bar { display: flex; height: 0.7rem; border-radius: 4px; overflow: hidden; background: var(--rule); }
.work { background: var(--c0); } .peers { background: var(--c4); } .loader { background: var(--c5); }
.key { white-space: nowrap; }
.key i { display: inline-block; width: 0.7rem; height: 0.7rem; border-radius: 3px; margin: 0 0.35rem 0 0.2rem;
  vertical-align: -0.05em; }
.compared th, .compared td { min-width: 6rem; }
.compared thead th { white-space: nowrap; }
.compared tbody tr + tr > * { border-top: 1px solid var(--rule); }
.compared tbody th { color: var(--muted); overflow-wrap: anywhere; }
.value-text { overflow-wrap: anywhere; }
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
  .results thead tr, .results tbody tr { display: grid; grid-template-columns: minmax(6rem, 1.3fr) repeat(var(--columns), 1fr); }
  .results thead th:first-child { display: none; }
  .results thead th { overflow-wrap: anywhere; font-size: 0.78rem; padding-left: 0.2rem; padding-right: 0.2rem; }
  .results td { padding-left: 0.2rem; padding-right: 0.2rem; font-size: 0.9rem; }
  .results .value { white-space: nowrap; }
  .results td, .results tbody th[scope="row"] { min-width: 0; width: auto; }
  .results .what { grid-column: 1 / -1; min-width: 0; padding-bottom: 0; }
  .results .what b, .results .what span { display: inline; margin-right: 0.5rem; }
  .results .change { display: block; }
  .ranks thead { display: none; }
  .ranks tr { display: flex; flex-wrap: wrap; gap: 0.1rem 0.9rem; padding: 0.6rem 0; border-bottom: 1px solid var(--rule); }
  .ranks th, .ranks td { padding: 0; }
  .ranks tbody th::before { content: "Rank "; }
  .ranks .bar-cell { flex: 1 0 100%; padding: 0.3rem 0; }
  .ranks td[data-label]::before { content: attr(data-label) " "; color: var(--muted); font-size: 0.85rem; }
  .results tbody tr:first-child > th[scope="row"], .results tbody tr:first-child > td { padding-top: 0.35rem; }
}
@media print { details > pre { white-space: pre-wrap; } }
)css";

}  // namespace triptych::report::internal
