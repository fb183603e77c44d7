"""The page of stages in the dashboard; imports Bokeh, so it is imported at the first visit."""

from __future__ import annotations

from functools import partial
from typing import Any

from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    CustomJSTickFormatter,
    DataRange1d,
)
from bokeh.models.plots import Plot
from bokeh.models.widgets import Div
from bokeh.plotting import figure
from distributed import Scheduler
from distributed.dashboard.components import DashboardComponent, add_periodic_callback
from distributed.dashboard.components.scheduler import BOKEH_THEME, env
from distributed.dashboard.core import BokehApplication
from distributed.dashboard.scheduler import template_variables
from tornado.ioloop import IOLoop

from hpdp_dask.cluster.panel_figures import StageFigures, Stages, read_stages
from hpdp_dask.dataflow.announcements import TOPIC

PAGE = "stages"

#: Milliseconds between two looks at what was announced, and how many stages are shown.
_INTERVAL, _SHOWN = 1000, 4

_COLOURS = ("#0b5cad", "#c2410c", "#0f766e", "#7e3bb0", "#a16207", "#be185d")


#: Dask's page around ours. Its own template for single plots stays empty where Panel, imported in
#: the same process, makes the pages of Bokeh.
_PAGE = """{% extends "base.html" %}
{% block content %}{% from macros import embed %}
{{ embed(roots.stages) }}
{{ plot_script }}
{% endblock %}"""


def add_page(scheduler: Scheduler) -> None:
    """Add the page of stages to the dashboard of a scheduler, after its first page.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        Whose dashboard is made.
    """
    application = scheduler.http_application
    served = [app for app in application.applications if hasattr(app, "app_paths")]
    variables = template_variables(scheduler)
    if PAGE not in variables["pages"]:
        # the pages of Dask hold the same list
        variables["pages"].insert(1, PAGE)
    if any(f"/{PAGE}" in app.app_paths for app in served):
        return
    prefix = next((app.prefix for app in served), "")
    page = BokehApplication(DOCUMENTS, scheduler, prefix=prefix, template_variables=variables)
    application.add_application(page)
    page.initialize(IOLoop.current())
    page.start()


def stages_document(scheduler: Scheduler, extra: dict[str, Any], document: Document) -> None:
    """Fill a document for one who looks at the page."""
    bare_document(scheduler, extra, document)
    document.template = env.from_string(_PAGE)
    document.template_variables.update(extra)


def bare_document(scheduler: Scheduler, extra: dict[str, Any], document: Document) -> None:
    """Fill a document without navigation, for a pane of JupyterLab."""
    panel = StagePanel(scheduler)
    panel.update()
    add_periodic_callback(document, panel, _INTERVAL)
    document.title = "HPDP: Stages"
    document.add_root(panel.root)
    document.theme = BOKEH_THEME


#: Under the names that the dashboard and the Dask extension of JupyterLab look for.
DOCUMENTS = {f"/{PAGE}": stages_document, f"/individual-{PAGE}": bare_document}


class StagePanel(DashboardComponent):
    """Cards of the stages, the resolution of loops by iteration, and images per second.

    Reads what the scheduler keeps of its topic and nothing else.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._seen: Any = None
        self.cards = Div(
            sizing_mode="stretch_width",
            stylesheets=[".bk-clearfix { display: block; width: 100%; }"],
        )
        self.source = ColumnDataSource(_no_lines())
        self.rates = ColumnDataSource(_no_lines())
        resolution = _chart(self.source, "Resolution by iteration", "Iteration", "Resolution (Å)")
        # linear in spatial frequency, so that what is finer is further up
        resolution.yaxis.formatter = CustomJSTickFormatter(
            code="return tick > 0 ? (1 / tick).toFixed(1) : '∞'"
        )
        resolution.xaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
        rate = _chart(self.rates, "Images per second", "Time", "Images per second", time=True)
        self.root = column(
            self.cards,
            row(resolution, rate, sizing_mode="stretch_width"),
            name=PAGE,
            sizing_mode="stretch_width",
            styles={"padding": "14px 10px", "box-sizing": "border-box"},
        )

    def update(self) -> None:
        """Look at what was announced, and draw it if it is new."""
        events = self._scheduler.get_events(TOPIC)
        clients = frozenset(self._scheduler.clients)
        seen = (events[-1] if events else None, clients)
        if seen == self._seen:
            return
        self._seen = seen
        found = read_stages(events, clients)
        # those that run first; the order is otherwise that of time
        shown = Stages(sorted(found, key=lambda stage: stage.status != "running")[:_SHOWN])
        self.cards.text = shown._repr_html_()
        loops = [stage for stage in shown if stage.curve]
        self.source.data = _lines(
            loops, [[(i, 1.0 / r) for i, r in stage.curve if r > 0] for stage in loops]
        )
        working = [stage for stage in shown if stage.rates]
        self.rates.data = _lines(
            working, [[(1000.0 * at, rate) for at, rate in stage.rates] for stage in working]
        )


def _chart(
    source: ColumnDataSource, title: str, below: str, beside: str, *, time: bool = False
) -> Plot:
    """Make a chart of one line for each stage."""
    chart = figure(
        title=title,
        height=300,
        sizing_mode="stretch_width",
        x_axis_type="datetime" if time else "auto",
        x_axis_label=below,
        y_axis_label=beside,
        y_range=DataRange1d(start=0),
        tools="",
        toolbar_location=None,
    )
    chart.multi_line("xs", "ys", source=source, line_color="colour", line_width=2.5)
    # of no size themselves: they stand for the lines, which have no marks
    chart.scatter("x", "y", source=source, color="colour", size=8, legend_field="name")
    chart.legend.location = "top_left" if not time else "bottom_left"
    chart.legend.background_fill_alpha = 0.7
    chart.legend.border_line_color = None
    chart.grid.grid_line_color = "#e8ecf1"
    chart.axis.minor_tick_line_color = None
    chart.outline_line_color = None
    return chart


def _lines(stages: list[StageFigures], points: list[list[tuple[float, float]]]) -> dict[str, Any]:
    """Give the columns of a chart: lines, and the last point of each."""
    drawn = [(stage, line) for stage, line in zip(stages, points, strict=True) if line]
    return {
        "xs": [[x for x, _ in line] for _, line in drawn],
        "ys": [[y for _, y in line] for _, line in drawn],
        "x": [line[-1][0] for _, line in drawn],
        "y": [line[-1][1] for _, line in drawn],
        "name": [stage.stage for stage, _ in drawn],
        "colour": [_COLOURS[place % len(_COLOURS)] for place in range(len(drawn))],
    }


_no_lines = partial(_lines, [], [])
