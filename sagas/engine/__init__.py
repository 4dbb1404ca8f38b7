"""Carries any workflow on: what it is made of, where a saga stands, what follows, and who sees to it.

Pure: `definition`, `state`, `decider`, `persons`. What does what was decided: `runner` and the modules it uses.
"""
