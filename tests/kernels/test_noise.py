"""The noise: its law, its independence, and that it is a function of (seed, replica, stream, step, row)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels import noise
from scipy import stats


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gaussian_law(dtype):
    key = noise.step_key(noise.replica_key(7, 0), 1, jnp.int32(0))
    sample = np.asarray(noise.gaussian_vectors(key, 20_000, dtype))
    assert sample.dtype == dtype
    assert stats.kstest(sample.ravel(), "norm").pvalue > 1e-3
    # The components of a row share two of its words: their correlation must vanish all the same.
    correlation = np.corrcoef(sample.T)
    assert np.max(np.abs(correlation - np.eye(3))) < 4 / np.sqrt(len(sample))


def test_rows_do_not_depend_on_the_number_of_rows():
    key = noise.step_key(noise.replica_key(1, 2), 1, jnp.int32(5))
    few = noise.gaussian_vectors(key, 10, jnp.float64)
    many = noise.gaussian_vectors(key, 1000, jnp.float64)
    np.testing.assert_array_equal(few, many[:10])


def test_float32_and_float64_agree_to_rounding():
    key = noise.step_key(noise.replica_key(1, 0), 1, jnp.int32(5))
    single = np.asarray(noise.gaussian_vectors(key, 1000, jnp.float32), np.float64)
    double = np.asarray(noise.gaussian_vectors(key, 1000, jnp.float64))
    # The coarser uniform (23 bits) moves a Gaussian most where the logarithm is steep, near u = 0 and 1.
    assert np.median(np.abs(single - double)) < 1e-6
    assert np.max(np.abs(single - double)) < 2e-2


def test_uncorrelated_over_seeds_replicas_streams_and_steps():
    def sample(seed, replica, stream, step):
        key = noise.step_key(noise.replica_key(seed, replica), stream, jnp.int32(step))
        return np.asarray(noise.gaussian_vectors(key, 10_000, jnp.float64)).ravel()

    base = sample(1, 0, 1, 0)
    for other in (sample(2, 0, 1, 0), sample(1, 1, 1, 0), sample(1, 0, 2, 0), sample(1, 0, 1, 1)):
        assert abs(np.mean(base * other)) < 4 / np.sqrt(base.size)


def test_golden_bits():
    """The words behind the noise, fixed for good: a resumed run must meet the same ones."""
    key = noise.step_key(noise.replica_key(1, 0), 1, jnp.int32(3))
    words = np.asarray(jax.random.bits(key, (4,), jnp.uint32))
    np.testing.assert_array_equal(words, np.array([856358368, 3617575736, 4115447206, 1097480354], np.uint32))


def test_bernoulli_resolves_small_probabilities_in_float32():
    key = noise.step_key(noise.replica_key(3, 0), 1, jnp.int32(0))
    n = 4_000_000
    for probability in (0.0, 1e-5, 0.3, 1.0):
        count = int(jnp.sum(noise.bernoulli(key, jnp.float32(probability), (n,))))
        sd = np.sqrt(n * probability * (1 - probability))
        assert abs(count - n * probability) <= 4 * sd
