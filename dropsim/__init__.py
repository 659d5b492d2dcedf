"""dropsim: mesoscale simulation of lithium-polysulfide droplets on charged active centres."""

__version__ = "0.1.0"
