#!/bin/sh
# Install the batch schedulers that the tests run, from Debian's packages; nothing is configured or
# started. Needs root. Chromium is for the picture of the dashboard.
set -eu
export DEBIAN_FRONTEND=noninteractive
missing=
for pair in sbatch:slurm-wlm munged:munge qsub:gridengine-client sge_qmaster:gridengine-master \
    sge_execd:gridengine-exec chromium:chromium; do
    program=${pair%%:*}
    command -v "$program" >/dev/null || [ -x "/usr/lib/gridengine/$program" ] ||
        missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0
# Grid Engine would make a cell of its own and start it
echo "gridengine-common shared/gridengineconfig boolean false" | debconf-set-selections
apt-get update -q
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing
