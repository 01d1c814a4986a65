"""Runs, searches and tables of teacher outputs as tasks of a Ray cluster. Importing a module of it imports Ray."""
