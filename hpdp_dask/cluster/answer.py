"""Does a scheduler answer, and not only its machine?"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from dask.utils import parse_timedelta
from distributed import Security
from distributed.comm import connect
from distributed.core import send_recv

#: How long a scheduler may take to answer.
ANSWER_TIMEOUT = "10s"


def check_answer(address: str, security: Security | None) -> None:
    """See that a scheduler answers.

    A process that is stopped still takes connections, and a client would wait for it for ever.

    Parameters
    ----------
    address : str
    security : distributed.Security or None
        By default that of Dask's configuration.

    Raises
    ------
    OSError
        It does not answer in time, or not at all.
    """

    async def ask() -> None:
        arguments = (security or Security()).get_connection_args("client")
        comm = await connect(address, **arguments)
        try:
            await send_recv(comm, op="identity", n_workers=0)
        finally:
            comm.abort()

    async def in_time() -> None:
        await asyncio.wait_for(ask(), parse_timedelta(ANSWER_TIMEOUT))

    try:
        # in a notebook this thread has an event loop that runs already
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: asyncio.run(in_time())).result()
    except TimeoutError as error:
        raise OSError(f"no answer in {ANSWER_TIMEOUT}") from error
