"""The panel of ranks and nodes: shares of the exchange, the slow rank with its cause, a heat map, the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.sections import link_bandwidth
from gputrain.engine.estimates import all_reduce
from gputrain.engine.estimates.all_reduce import MACHINE_LATENCY, NETWORK_LATENCY, Link
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, Span, cut, groups, line, pad, right, width, wrap
from gputrain.tui.state.rank_history import RankTimes
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.slow_ranks import NodeTimes, SlowNode, SlowRank, nodes_of, slow_node, slow_rank
from gputrain.tui.widgets.panel import Panel, View
from gputrain.tui.widgets.panels.nodes.node_table import node_lines
from gputrain.tui.widgets.panels.rank_map import LEGENDS, MEASURES, Group, Measure, fold, map_lines, usual_of

_NODE_ROWS = 14
"""Rows of the panel from which it lists the nodes."""
_LEGEND_ROWS = 8
"""Rows from which it has a legend."""


def draw_ranks(view: View, measure: Measure, columns: int, rows: int) -> list[Line]:
    """Summary, slow rank, heat map, legend and nodes, then the maps of other measures, as far as there is room."""
    now = view.now
    recent = now.ranks.recent()
    if not recent:
        alone = now.ranks.count < 2 and now.steps is not None
        return [
            line(("no other ranks: one process trains alone" if alone else "no step times of several ranks yet", "dim"))
        ]
    host = now.started.host if now.started else ""
    nodes = nodes_of(now.ranks, recent, host)
    late, late_node = slow_rank(now, recent), slow_node(nodes)
    head = [
        _summary(now, recent, nodes, columns),
        *_slow_lines(now, late, late_node, columns, 2 if rows >= _LEGEND_ROWS else 1),
    ]
    tail = [_legend(measure, columns)] if rows >= _LEGEND_ROWS else []
    listed = node_lines(now, nodes, late_node, columns, rows // 3) if rows >= _NODE_ROWS else []
    room = rows - len(head) - len(tail) - len(listed)
    drawn = [*head, *_map(now, measure, recent, late, nodes, columns, room), *tail, *listed]
    for other in MEASURES if listed else ():
        if other != measure:
            more = _map(now, other, recent, late, nodes, columns, rows)
            if len(drawn) + 2 + len(more) > rows:
                break
            drawn += [
                (),
                line((f"{MEASURES[other]}  ", "title"), *_legend(other, columns - len(MEASURES[other]) - 2)),
                *more,
            ]
    return drawn[:rows]


def _summary(now: Snapshot, recent: Mapping[int, RankTimes], nodes: Sequence[NodeTimes], columns: int) -> Line:
    own = [times.own / times.steps for times in recent.values()]
    exchange = [times.exchange / times.seconds for times in recent.values() if times.seconds]
    step = max(times.seconds / times.steps for times in recent.values())
    least = f"{fmt.share(min(exchange))} to {fmt.share(max(exchange))}"
    where = f"{len(recent)} ranks" + (f" on {len(nodes)} nodes" if len(nodes) > 1 else "")
    hidden = _overlap(now, recent, len(nodes))
    lost = sorted(now.ranks.lost)
    more = f" +{len(lost) - 1}" if len(lost) > 1 else ""
    return groups(
        columns,
        line((where, "bright")),
        line((f"lost: {cut(plain(lost[0], 40), 18)}{more}", "bad")) if lost else (),
        line(("step ", "dim"), fmt.milliseconds(step)),
        line(("exchange ", "dim"), least),
        line(("overlap ", "dim"), hidden) if hidden else (),
        line(("own time ", "dim"), f"{fmt.milliseconds(min(own))} to {fmt.milliseconds(max(own))}"),
    )


def _overlap(now: Snapshot, recent: Mapping[int, RankTimes], nodes: int) -> str:
    """The part of the predicted all-reduce that no rank waits for; empty where it is unknown."""
    if now.model is None or not now.model.device.startswith("cuda"):
        return ""
    link = link_bandwidth.parse(now.settings.get("gpu_bandwidth", "auto"), link_bandwidth.of_gpu(now.model.device_name))
    slowest, latency = link.bytes_per_second, MACHINE_LATENCY
    if nodes > 1:
        between = link_bandwidth.parse(now.settings.get("network_bandwidth", "auto"), "10GbE")
        slowest, latency = min(slowest, between.bytes_per_second), NETWORK_LATENCY
    sent = 2 if now.settings.get("gradient_compression") == "bf16" else 4
    whole = all_reduce.ring_seconds(now.model.parameters * sent, len(recent), Link(slowest, latency))
    # The rank that waits least waits for no other rank, only for the exchange.
    exposed = min(times.exchange / times.steps for times in recent.values())
    exposed *= now.settings.get("accumulation_steps", 1)
    if whole <= 0:
        return ""
    hidden = max(0.0, 1 - exposed / whole)
    return f"{fmt.share(hidden)} of {fmt.milliseconds(whole)}"


def _slow_lines(now: Snapshot, late: SlowRank | None, node: SlowNode | None, columns: int, most: int) -> list[Line]:
    """The slow node and the slow rank, each in at most `most` lines."""
    texts = []
    if node is not None and node.ranks > 1:
        who = f"{plain(node.host, 40)}: its {node.ranks} ranks"
        texts.append(f"▲ slow node {who} take {fmt.share(node.late)} of a step longer")
    if late is not None:
        of = f" of {plain(late.host, 40)}" if late.host else ""
        on_cpu = now.model is not None and now.model.device == "cpu"
        where = f"CPU{of}" if on_cpu else f"GPU {late.gpu}{of}"
        texts.append(f"▲ slow rank {late.rank}, {where}, +{fmt.share(late.late)} of a step: {plain(late.cause, 120)}")
    found = [line((row, "bad")) for text in texts for row in wrap(text, max(20, columns), most)]
    return found or [line(("no rank is slower than the others", "dim"))]


def _map(
    now: Snapshot,
    measure: Measure,
    recent: Mapping[int, RankTimes],
    late: SlowRank | None,
    nodes: Sequence[NodeTimes],
    columns: int,
    rows: int,
) -> list[Line]:
    """The heat map with the numbers of the ranks on the left, and their node where there are several."""
    sizes = {len(one.ranks) for one in nodes}
    contiguous = all(one.ranks == tuple(range(one.ranks[0], one.ranks[0] + len(one.ranks))) for one in nodes)
    per_node = sizes.pop() if len(nodes) > 1 and len(sizes) == 1 and contiguous else 0
    rows_of = fold(now.ranks.count, rows, per_node)
    labels = [f"{one.label}" for one in rows_of]
    room = max((len(label) for label in labels), default=1)
    names = _node_names(rows_of, nodes, columns) if per_node else [""] * len(rows_of)
    named = max((width([(name, "text")]) for name in names), default=0)
    cells = columns - room - 3 - (named + 1 if named else 0)
    drawn = map_lines(now.ranks.columns, measure, usual_of(measure, recent.values()), rows_of, max(1, cells))
    lines = []
    for group, label, name, body in zip(rows_of, labels, names, drawn, strict=True):
        marked = late is not None and group.first <= late.rank <= group.last
        head: list[Span] = [(pad(name, named) + " ", "dim")] if named else []
        head += [(right(label, room), "bad" if marked else "text"), (" ▶" if marked else "  ", "bad")]
        lines.append((*head, *body))
    return lines


def _node_names(rows: Sequence[Group], nodes: Sequence[NodeTimes], columns: int) -> list[str]:
    """The machine of each row, at its first row only."""
    most = min(16, columns // 5)
    first = {one.ranks[0]: plain(one.host, 40) for one in nodes}
    starts = sorted(first)
    names = []
    for row in rows:
        here = [first[start] for start in starts if row.first <= start <= row.last]
        more = f" +{len(here) - 1}" if len(here) > 1 else ""
        names.append(cut(here[0], most - len(more)) + more if here else "")
    return names


def _legend(measure: Measure, columns: int) -> Line:
    kind = "times" if measure in ("own", "step") else "shares"
    parts = [line((f"{sign} ", role), (words, "dim")) for sign, words, role in LEGENDS[kind]]
    of = "of the median, slowest rank of a row" if kind == "times" else "of a step"
    return groups(columns, *parts, line((f"{of}; one column is 2 s", "dim")))


class RanksPanel(Panel):
    """Ranks and nodes of a run on several devices."""

    TITLE = "Ranks"
    measure: Measure = "own"
    """What the heat map shows."""

    def next_measure(self) -> None:
        """Show the next of `MEASURES`."""
        names = list(MEASURES)
        self.measure = names[(names.index(self.measure) + 1) % len(names)]
        self.redraw()

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The ranks: they are replaced every two seconds."""
        return (now.ranks,)

    def title(self, view: View) -> str:
        """The title with what is shown."""
        return f"Ranks: {MEASURES[self.measure]}"

    def note(self, view: View) -> str:
        """The key."""
        return "m: next"

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the panel."""
        return draw_ranks(view, self.measure, columns, rows)
