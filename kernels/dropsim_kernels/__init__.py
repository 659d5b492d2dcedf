"""Pure array physics on jax: no units, files, printing, jit or configuration."""
