"""The Dask dashboard, made when somebody looks at it, with a page of stages; and its address."""

from __future__ import annotations

import logging
import os
from typing import Any

import dask
from distributed import Client, Scheduler, SchedulerPlugin
from tornado import httputil, web

log = logging.getLogger(__name__)

#: Where JupyterHub serves what runs beside a notebook, in its environment.
_HUB_PREFIX = "JUPYTERHUB_SERVICE_PREFIX"
_LINK = "distributed.dashboard.link"
#: Dask's own default.
_PLAIN_LINK = "{scheme}://{host}:{port}/status"


class _FirstVisit(web.Application):
    """Stands in for the dashboard's pages until one is asked for.

    They need Bokeh, whose import takes half a CPU second that most commands never use.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self.scheduler = scheduler

    def find_handler(self, request: httputil.HTTPServerRequest, **options: Any) -> Any:
        """Put the pages in this object's place and let them answer."""
        from distributed.dashboard.scheduler import applications, connect

        from hpdp_dask.cluster.panel import DOCUMENTS, add_page

        application = self.scheduler.http_application
        application.applications.remove(self)
        applications.update(DOCUMENTS)
        connect(application, self.scheduler.http_server, self.scheduler)
        add_page(self.scheduler)
        return application.find_handler(request, **options)


def show_at_first_visit(scheduler: Scheduler) -> None:
    """Let a scheduler without a dashboard have one from the first visit on.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        In this process, started with `dashboard=False` and a `dashboard_address`.
    """
    scheduler.http_application.add_application(_FirstVisit(scheduler))


class StagesPage(SchedulerPlugin):
    """Adds the page of stages to the dashboard of a scheduler that was started by others."""

    name = "hpdp-stages"
    idempotent = True

    async def start(self, scheduler: Scheduler) -> None:
        """Add it, unless there is no dashboard, or one that will have it."""
        applications = scheduler.http_application.applications
        if applications and not any(isinstance(app, _FirstVisit) for app in applications):
            from hpdp_dask.cluster.panel import add_page

            add_page(scheduler)


def add_stages_page(client: Client) -> None:
    """Add the page of stages to the dashboard of the scheduler that a client joined.

    A scheduler that cannot have it, without this package or by its configuration, stays as it is.

    Parameters
    ----------
    client : distributed.Client
    """
    try:
        client.register_plugin(StagesPage())
    except Exception as error:
        # what the scheduler raises comes from there, of any type; the page is not worth a run
        log.debug("The dashboard has no page of stages: %s", error)


async def dask_setup(scheduler: Scheduler) -> None:
    """Add the page where `dask scheduler --preload hpdp_dask.cluster.dashboard` asks for it."""
    await StagesPage().start(scheduler)


def link_through_jupyterhub() -> None:
    """Let addresses of dashboards go through jupyter-server-proxy in a session of JupyterHub.

    An address that the person has configured stays. To be called before a cluster is made.
    """
    if os.environ.get(_HUB_PREFIX) and dask.config.get(_LINK, _PLAIN_LINK) == _PLAIN_LINK:
        dask.config.set({_LINK: f"{{{_HUB_PREFIX}}}proxy/{{port}}/status"})
