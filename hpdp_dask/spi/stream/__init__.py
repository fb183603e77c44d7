"""Classification while frames arrive: features online, labels, training, labels for all.

    recipe      what is done with every frame
    sums        sums of hits and of classes, under way
    pool        frames from which the training set is labelled
    training    settings, and models from labels
    scenario    gathering, labelling, training, one after the other beside the stream

The steps are those of Bobkov, Teslyuk, Baymukhametov et al. (2020), Crystallogr. Rep. 65, 995.
"""
