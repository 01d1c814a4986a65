"""One module for each kind of plot; `catalogue` lists which plots a set of runs has."""
