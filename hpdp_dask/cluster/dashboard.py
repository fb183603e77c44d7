"""The Dask dashboard, made when somebody looks at it."""

from __future__ import annotations

from typing import Any

from distributed import Scheduler
from tornado import httputil, web


class _FirstVisit(web.Application):
    """Stands in for the dashboard's pages until one is asked for.

    They need Bokeh, whose import takes half a CPU second that most commands never use.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self.scheduler = scheduler

    def find_handler(self, request: httputil.HTTPServerRequest, **options: Any) -> Any:
        """Put the pages in this object's place and let them answer."""
        from distributed.dashboard.scheduler import connect

        application = self.scheduler.http_application
        application.applications.remove(self)
        connect(application, self.scheduler.http_server, self.scheduler)
        return application.applications[-1].find_handler(request, **options)


def show_at_first_visit(scheduler: Scheduler) -> None:
    """Let a scheduler without a dashboard have one from the first visit on.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        In this process, started with `dashboard=False` and a `dashboard_address`.
    """
    scheduler.http_application.add_application(_FirstVisit(scheduler))
