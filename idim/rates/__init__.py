"""The learning rate at each size: which tuning runs to make, and the law that is read off them.

Full fine-tuning is tuned first. Its best rate and the arm's law (search/surface.py) say where the
best rates of the arm lie. A few runs at two sizes, and later at the answer itself, settle the rest.
Every run is scored on the tuning split, so no rate is chosen by what it scores on the measuring
one.
"""
