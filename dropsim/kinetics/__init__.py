"""The droplet tier: one droplet on a patch of Mo centres, over seconds to minutes.

`parameters` holds every input with its provenance, `growth_laws` the closed forms, `droplet` the
deterministic equations and `stochastic` the jump process of which they are the mean field.
"""
