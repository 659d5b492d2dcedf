"""The box: nearest images, wrapping at the edges of float32, unwrapping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box, minimum_image, unwrap, wrap

LENGTHS = (2.0, 3.0, 5.0)
SLAB = (True, True, False)


@pytest.mark.parametrize("periodic", [SLAB, (True, True, True), (False, False, False)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_minimum_image_is_the_shortest_of_all_images(periodic, dtype):
    box = Box(jnp.asarray(LENGTHS, dtype), periodic)
    displacement = jax.random.uniform(jax.random.key(1), (200, 3), dtype, -12.0, 12.0)
    nearest = minimum_image(displacement, box)
    assert nearest.dtype == dtype
    turns = np.arange(-7, 8)
    for axis in range(3):
        images = np.asarray(displacement)[:, axis, None] + turns * LENGTHS[axis] * periodic[axis]
        shortest = np.abs(images).min(axis=1)
        np.testing.assert_allclose(np.abs(nearest[:, axis]), shortest, atol=40 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_wrap_stays_below_the_length_and_unwraps_to_where_it_was(dtype):
    box = Box(jnp.asarray(LENGTHS, dtype), SLAB)
    tiny = np.finfo(np.dtype(dtype)).tiny
    position = jnp.asarray(
        [[-tiny, -1e-9, -0.5], [2.0, 3.0, 5.0], [np.nextafter(2, 0), 9.0, 7.0], [-4.0, -6.0001, 0.0]], dtype
    )
    wrapped, image = wrap(position, jnp.zeros((4, 3), jnp.int32), box)
    assert wrapped.dtype == dtype
    assert image.dtype == jnp.int32
    assert bool((wrapped[:, :2] >= 0).all())
    assert bool((wrapped[:, :2] < jnp.asarray(LENGTHS[:2], dtype)[None, :]).all())
    np.testing.assert_array_equal(wrapped[:, 2], position[:, 2])
    np.testing.assert_array_equal(image[:, 2], 0)
    np.testing.assert_allclose(unwrap(wrapped, image, box), position, atol=10 * jnp.finfo(dtype).eps)


def test_wrap_adds_to_the_images_it_is_given():
    box = Box(jnp.asarray(LENGTHS), (True, True, True))
    position = jnp.asarray([[4.5, -0.5, 5.5]])
    wrapped, image = wrap(position, jnp.asarray([[7, -3, 0]], jnp.int32), box)
    np.testing.assert_allclose(wrapped, [[0.5, 2.5, 0.5]])
    np.testing.assert_array_equal(image, [[9, -4, 1]])


def test_functions_of_the_box_work_under_vmap():
    box = Box(jnp.asarray(LENGTHS), SLAB)
    position = jax.random.uniform(jax.random.key(2), (4, 6, 3), minval=-9.0, maxval=9.0)
    image = jnp.zeros((4, 6, 3), jnp.int32)
    together = jax.vmap(lambda x, n: wrap(x, n, box))(position, image)
    for replica in range(4):
        alone = wrap(position[replica], image[replica], box)
        np.testing.assert_array_equal(together[0][replica], alone[0])
        np.testing.assert_array_equal(together[1][replica], alone[1])
