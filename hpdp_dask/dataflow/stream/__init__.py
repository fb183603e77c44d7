"""Images that arrive while you work: the measures of stored frames, run as frames come.

    driver       `Stream`: batches from a source, a task each, models put in place
    batches      what a source is, and what it gives
    replay, directory, messages     sources: a stack, a folder, ZeroMQ
    message      how frames are written into a message
    task         what a worker does with a batch
    folder       the files of a stream, from which it goes on
    totals       running sums, which can be had at any moment
    ranking      frames that stand out, and columns that are followed
    figures      rates, lag and counts, as they are now
    stack        what was found, as a stack of frames

The others are parts of these. Nothing here knows X-rays: a craft brings the measures, and the
model.
"""
