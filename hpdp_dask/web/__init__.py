"""Pages for people, on Panel and Bokeh: labelling images, watching a stream."""
