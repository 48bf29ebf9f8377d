"""Looks for the values of a release's Secrets in every place where they could surface.

`needles` knows the values in every form, `engine` reads the places, `report` tells what came of
it. The other modules have the places, one module a group; a new place is one function.
"""
