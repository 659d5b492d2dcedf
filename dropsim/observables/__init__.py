"""Arrays in, `Estimate` out: this room never imports `simulate` and never reads a file."""
