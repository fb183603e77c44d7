#!/bin/sh
# Of the container: the address of a scheduler starts a worker, anything else is a command.
case "$1" in
    tcp://*|tls://*) exec python -m distributed.cli.dask_worker "$@" ;;
    *) exec "$@" ;;
esac
