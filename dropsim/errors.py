"""The errors that users meet; each is also the built-in error that they would catch."""


class DropsimError(Exception):
    """Base of every error that dropsim raises on purpose; its text says what to do."""

    exit_code = 1


class ConfigError(DropsimError, ValueError):
    """A configuration that cannot be run: names file, line, key, value and what is allowed."""

    exit_code = 2


class BuildError(DropsimError, ValueError):
    """A valid configuration whose system cannot be made (overlaps, no room, net charge)."""

    exit_code = 3


class SimulationError(DropsimError, RuntimeError):
    """A run that stopped: names the step and the remedy; what was flushed stays readable."""

    exit_code = 4


class TrajectoryError(DropsimError, OSError):
    """A file that is missing, truncated, of another run, or that could not be written."""

    exit_code = 5


class AnalysisError(DropsimError, ValueError):
    """Data from which the asked-for number cannot be had (too few frames, constant area)."""

    exit_code = 6
